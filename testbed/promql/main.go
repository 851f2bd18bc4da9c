// The query engine of Prometheus 3 as a referee: a line of JSON in, a line of
// JSON out. A line with "series" replaces the data and is answered with {}; a
// line with "query" is evaluated over them. Nothing is kept on disk: the
// engine reads series from memory just as it reads them from a block.
//
// For timing a line with "store" adds its series to a time series database as
// a server has it, in a folder that goes with the program; queries with
// "repeat" are evaluated over that, so many times, and answered with how long
// each took.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// stale is how a staleness marker is written; all other values are written so
// that they read back to the bit.
const stale = "stale"

type sample struct {
	T int64  `json:"t"` // milliseconds
	V string `json:"v"`
}

type series struct {
	Labels  map[string]string `json:"labels"`
	Samples []sample          `json:"samples"`
}

// request is either new data or a query: over [Start, End] in milliseconds, at
// Start alone where Step is 0.
type request struct {
	Series []series `json:"series"`
	Query  string   `json:"query"`
	Start  int64    `json:"start"`
	End    int64    `json:"end"`
	Step   int64    `json:"step"`
	// Immediate removes metric names in the operation that loses them, as a
	// server does by default, and not at the end of the query.
	Immediate bool `json:"immediate"`
	// Store are series for the database.
	Store []series `json:"store"`
	// Repeat is how often a query is evaluated over the database.
	Repeat int `json:"repeat"`
}

type answer struct {
	Type   string   `json:"type,omitempty"`
	Series []series `json:"series,omitempty"`
	Text   string   `json:"text,omitempty"`
	Error  string   `json:"error,omitempty"`
	// Nanos is how long each evaluation took.
	Nanos []int64 `json:"nanos,omitempty"`
}

func main() {
	delayed, immediate := engine(true), engine(false)
	in := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	out := bufio.NewWriter(os.Stdout)
	var held memory
	var kept database
	defer kept.close()
	for in.More() {
		var asked request
		if err := in.Decode(&asked); err != nil {
			fmt.Fprintln(os.Stderr, "not a request:", err)
			os.Exit(1)
		}
		var said answer
		if asked.Store != nil {
			if err := kept.add(asked.Store); err != nil {
				said.Error = err.Error()
			}
		} else if asked.Repeat > 0 {
			said = kept.measure(immediate, asked)
		} else if asked.Query == "" {
			var err error
			if held, err = load(asked.Series); err != nil {
				said.Error = err.Error()
			}
		} else if asked.Immediate {
			said = evaluate(immediate, held, asked)
		} else {
			said = evaluate(delayed, held, asked)
		}
		line, err := json.Marshal(said)
		if err != nil {
			fmt.Fprintln(os.Stderr, "no answer:", err)
			os.Exit(1)
		}
		out.Write(append(line, '\n'))
		out.Flush()
	}
}

func engine(delayedNameRemoval bool) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:               50_000_000,
		Timeout:                  time.Minute,
		LookbackDelta:            5 * time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnableDelayedNameRemoval: delayedNameRemoval,
		Parser: parser.NewParser(parser.Options{
			EnableExperimentalFunctions: true,
			EnableBinopFillModifiers:    true,
		}),
	})
}

func evaluate(engine *promql.Engine, held storage.Queryable, asked request) answer {
	result, done := execute(engine, held, asked)
	defer done()
	return tell(result)
}

// execute runs a query; the result lives until done is called.
func execute(engine *promql.Engine, held storage.Queryable, asked request) (result *promql.Result, done func()) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	ctx := context.Background()
	var query promql.Query
	var err error
	if asked.Step == 0 {
		query, err = engine.NewInstantQuery(ctx, held, nil, asked.Query, at(asked.Start))
	} else {
		step := time.Duration(asked.Step) * time.Millisecond
		query, err = engine.NewRangeQuery(ctx, held, nil, asked.Query, at(asked.Start), at(asked.End), step)
	}
	if err != nil {
		return &promql.Result{Err: err}, func() {}
	}
	return query.Exec(ctx), query.Close
}

func tell(result *promql.Result) answer {
	if result.Err != nil {
		return answer{Error: result.Err.Error()}
	}
	said := answer{Type: string(result.Value.Type())}
	switch v := result.Value.(type) {
	case promql.Scalar:
		said.Series = []series{{Samples: []sample{{v.T, write(v.V)}}}}
	case promql.String:
		said.Text = v.V
	case promql.Vector:
		for _, s := range v {
			if s.H != nil {
				return answer{Error: "native histogram"}
			}
			said.Series = append(said.Series, series{s.Metric.Map(), []sample{{s.T, write(s.F)}}})
		}
	case promql.Matrix:
		for _, s := range v {
			if len(s.Histograms) > 0 {
				return answer{Error: "native histogram"}
			}
			one := series{Labels: s.Metric.Map()}
			for _, p := range s.Floats {
				one.Samples = append(one.Samples, sample{p.T, write(p.F)})
			}
			said.Series = append(said.Series, one)
		}
	}
	return said
}

func write(v float64) string {
	if value.IsStaleNaN(v) {
		return stale
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func read(text string) (float64, error) {
	if text == stale {
		return math.Float64frombits(value.StaleNaN), nil
	}
	return strconv.ParseFloat(text, 64)
}

// memory is a set of series, in order of their labels.
type memory []promql.Series

func load(from []series) (memory, error) {
	var held memory
	for _, s := range from {
		one := promql.Series{Metric: labels.FromMap(s.Labels)}
		for _, p := range s.Samples {
			v, err := read(p.V)
			if err != nil {
				return nil, err
			}
			one.Floats = append(one.Floats, promql.FPoint{T: p.T, F: v})
		}
		held = append(held, one)
	}
	slices.SortFunc(held, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return held, nil
}

// Querier reads one span of the held series.
func (held memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return querier{held, mint, maxt}, nil
}

type querier struct {
	held       memory
	mint, maxt int64
}

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &set{at: -1}
	for _, s := range q.held {
		misses := func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }
		if slices.ContainsFunc(matchers, misses) {
			continue
		}
		one := promql.Series{Metric: s.Metric}
		for _, p := range s.Floats {
			if q.mint <= p.T && p.T <= q.maxt {
				one.Floats = append(one.Floats, p)
			}
		}
		if len(one.Floats) > 0 {
			found.series = append(found.series, one)
		}
	}
	return found
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) Close() error { return nil }

type set struct {
	series []promql.Series
	at     int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series                { return promql.NewStorageSeries(s.series[s.at]) }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }
