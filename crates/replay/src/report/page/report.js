// Draws the charts over time. Dragging across one zooms all of them; a double
// click shows everything again.
'use strict';
(() => {
  const {charts, origin} = JSON.parse(document.getElementById('data').textContent);
  const root = getComputedStyle(document.documentElement);
  const colour = (name) => root.getPropertyValue('--' + name).trim();

  // Moments count from the load's begin, unless they are dates.
  const two = (n) => String(Math.floor(n)).padStart(2, '0');
  const moment = (t) => {
    if (origin !== null) return new Date((origin + t) * 1000).toISOString().slice(0, 19).replace('T', ' ');
    return `${Math.floor(t / 86400)} d ${two(t % 86400 / 3600)}:${two(t % 3600 / 60)}:${two(t % 60)}`;
  };
  const tick = (t, step) => {
    if (origin !== null) {
      const text = moment(t);
      return step >= 86400 ? text.slice(5, 10) : step >= 60 ? text.slice(5, 16) : text.slice(11);
    }
    if (step >= 86400) return `${t / 86400} d`;
    if (step >= 3600) return `${Math.floor(t / 86400)} d ${two(t % 86400 / 3600)}:00`;
    return step >= 60 ? `${Math.floor(t / 3600)}:${two(t % 3600 / 60)}` : `${Math.floor(t / 60)}:${two(t % 60)} min`;
  };
  const steps = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200,
    86400, 172800, 345600, 604800, 1209600, 2419200, 4838400, 9676800, 19353600];

  // Policies are compared by eye: their charts have one height.
  const tops = charts.map((c) => c.lines.reduce((top, l) => l.values.reduce((a, b) => Math.max(a, b), top), 1));
  const top = charts.reduce((most, c, n) => c.gap === null ? most : Math.max(most, tops[n]), 1);

  const sync = uPlot.sync('time');
  const plots = [];
  const zoom = (from, to) => plots.forEach((p) => p.setScale('x', {min: from, max: to}));

  for (const [n, chart] of charts.entries()) {
    const place = document.getElementById('chart' + n);
    const last = chart.times.at(-1);
    const series = chart.lines.map((line) => ({
      label: line.name,
      stroke: () => colour(line.colour) + (line.faint ? '99' : ''),
      width: line.faint ? 1 : 1.6,
      dash: line.faint ? [4, 3] : undefined,
      paths: line.steps ? uPlot.paths.stepped({align: 1}) : uPlot.paths.linear(),
      points: {show: false},
      value: (_, v) => v === null ? '' : String(Math.round(v * 100) / 100),
    }));
    const options = {
      width: place.clientWidth - 12,
      height: 230,
      scales: {x: {time: false, range: (_, from, to) => from === null ? [0, last] : [from, to]},
        y: {range: [0, (chart.gap === null ? tops[n] : top) * 1.05]}},
      axes: [
        {incrs: steps, space: 90, stroke: () => colour('dim'), grid: {stroke: () => colour('grid'), width: 1},
          ticks: {stroke: () => colour('grid'), width: 1},
          values: (_, at, __, ___, step) => at.map((t) => tick(t, step))},
        {size: 46, stroke: () => colour('dim'), grid: {stroke: () => colour('grid'), width: 1},
          ticks: {stroke: () => colour('grid'), width: 1}},
      ],
      series: [{label: 'time', value: (_, t) => t === null ? '' : moment(t)}, ...series],
      bands: chart.gap === null ? [] :
        [{series: [chart.gap[0] + 1, chart.gap[1] + 1], fill: () => colour('gap'), dir: -1}],
      cursor: {sync: {key: sync.key}, drag: {x: true, y: false, setScale: false}},
      hooks: {
        setSelect: [(p) => {
          if (p.select.width > 4) {
            zoom(p.posToVal(p.select.left, 'x'), p.posToVal(p.select.left + p.select.width, 'x'));
          }
          p.setSelect({left: 0, width: 0, top: 0, height: 0}, false);
        }],
      },
    };
    const plot = new uPlot(options, [chart.times, ...chart.lines.map((l) => l.values)], place);
    plot.over.addEventListener('dblclick', () => zoom(0, last));
    plots.push(plot);
  }
  addEventListener('resize', () => plots.forEach((p) =>
    p.setSize({width: p.root.parentElement.clientWidth - 12, height: 230})));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () =>
    plots.forEach((p) => p.redraw(false)));
})();
