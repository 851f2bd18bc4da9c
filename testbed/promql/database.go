package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// database is a server's store, opened when it is first written to.
type database struct {
	folder string
	db     *tsdb.DB
}

func (d *database) add(from []series) error {
	if d.db == nil {
		folder, err := os.MkdirTemp("", "promql-referee-")
		if err != nil {
			return err
		}
		d.folder = folder
		options := tsdb.DefaultOptions()
		options.RetentionDuration = 100 * 365 * 24 * time.Hour.Milliseconds()
		// Series come one after the other, each with its own hours: the head
		// takes what is at most half a block behind.
		options.MinBlockDuration = 24 * time.Hour.Milliseconds()
		options.MaxBlockDuration = options.MinBlockDuration
		if d.db, err = tsdb.Open(folder, nil, nil, options, nil); err != nil {
			return err
		}
	}
	appender := d.db.Appender(context.Background())
	for _, s := range from {
		metric := labels.FromMap(s.Labels)
		for _, p := range s.Samples {
			v, err := read(p.V)
			if err != nil {
				return errors.Join(err, appender.Rollback())
			}
			if _, err := appender.Append(0, metric, p.T, v); err != nil {
				return errors.Join(err, appender.Rollback())
			}
		}
	}
	return appender.Commit()
}

// measure evaluates a query again and again; the answer is that of the last
// time.
func (d *database) measure(engine *promql.Engine, asked request) answer {
	if d.db == nil {
		return answer{Error: "there are no series in the database"}
	}
	var said answer
	var nanos []int64
	for range asked.Repeat {
		began := time.Now()
		result, done := execute(engine, d.db, asked)
		nanos = append(nanos, time.Since(began).Nanoseconds())
		said = tell(result)
		done()
	}
	said.Nanos = nanos
	return said
}

func (d *database) close() {
	if d.db != nil {
		d.db.Close()
		os.RemoveAll(d.folder)
	}
}
