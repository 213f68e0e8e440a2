// The page's script: one filter for every chart and table, and its state in the address.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const FORM = document.getElementById("state");
const ROWS = new Map(records(DATA.rows).map((row) => [row.key, row]));
const BY_BASE = new Map([...ROWS.values()].map((row) => [row.base, row]));
const MEASURES = groupMeasures(records(DATA.measures));
const PAIRS = new Map(records(DATA.verdicts).flatMap((pair) => [
  [`${pair.key}|${pair.other}`, pair], [`${pair.other}|${pair.key}`, pair]]));
const OWN = new Map(Object.entries(DATA.datasets).map(([name, table]) => [name, records(table)])); // of sections
const SELECTORS = ["source", "size", "training", "scoring"];
const BY_VIEW = ["session", "reference", "measure"]; // selectors whose options depend on the view
const NAMES_WIDTH = 118, BASELINES_WIDTH = 150, LOG_TICKS = 20, MAX_NAMED = 12, AXIS_WIDTH = 58, LINE_HEIGHT = 12, STEEP_SHARE = 0.35;
const charts = new Map(); // of those drawn: name to Vega view
let data = {}; // the datasets of the charts, for the rows that are shown

// --- records -------------------------------------------------------------------------------------

function records(columns) {
  const names = Object.keys(columns);
  return (columns[names[0]] ?? []).map((_, n) =>
    Object.fromEntries(names.map((name) => [name, columns[name][n]])));
}

function groupMeasures(lines) {
  const groups = new Map();
  for (const line of lines) groups.set(`${line.key}|${line.session}|${line.metric}`, line);
  return groups;
}

function measure(key, metric, session) {
  return MEASURES.get(`${key}||${metric}`) ?? MEASURES.get(`${key}|${session}|${metric}`);
}

function short(value) {
  if (value === null || value === undefined) return "—";
  const units = [[" T", 1e12], [" G", 1e9], [" M", 1e6], [" k", 1e3]];
  const [unit, scale] = units.find(([, least]) => Math.abs(value) >= least) ?? ["", 1];
  return Number((value / scale).toPrecision(4)) + unit;
}

// --- state ---------------------------------------------------------------------------------------

function readState() {
  const form = new FormData(FORM);
  const state = Object.fromEntries(form);
  return Object.assign(state, {
    show: new Set(form.getAll("show")), columns: new Set(form.getAll("columns")),
    view: currentView(state),
  });
}

/** Return the view that fits the selectors best; what the reader has just chosen counts most. */
function currentView(state, changed = "") {
  const fit = (view) => SELECTORS.reduce((sum, name) =>
    sum + (view.choices[name] === state[name]) * (name === changed ? 9 : 1), 0);
  return DATA.views.reduce((best, view) => (fit(view) > fit(best) ? view : best), DATA.views[0]);
}

function isDefault(name) {
  return fields(name).every((field) => field.type === "checkbox"
    ? field.checked === field.defaultChecked
    : field.options ? field.selectedIndex <= 0 : field.value === field.defaultValue);
}

/** Sort the tables that the address names: id, column, ascending or descending. */
function restoreOrder(query) {
  for (const [id, column, order] of query.getAll("order").map((value) => value.split("~"))) {
    const table = document.getElementById(id);
    if (table?.matches(".sortable") && table.tHead.rows[0].cells[column] && /^(a|de)scending$/.test(order)) sortTable(table, column, order);
  }
}

function fields(name) {
  return [...FORM.elements].filter((element) => element.name === name);
}

function writeAddress() {
  const form = new FormData(FORM), query = new URLSearchParams();
  for (const name of new Set([...FORM.elements].map((element) => element.name))) {
    if (!name || isDefault(name)) continue;
    const values = form.getAll(name);
    for (const value of values.length ? values : [""]) query.append(name, value);
  }
  for (const head of document.querySelectorAll("th[aria-sort$=ending]")) {
    query.append("order", [head.closest("table").id, head.cellIndex, head.getAttribute("aria-sort")].join("~"));
  }
  history.replaceState(null, "", `${location.pathname}${query.size ? "?" + query : ""}${location.hash}`);
}

function restore(query) {
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name);
    for (const field of fields(name)) {
      if (field.type === "checkbox") field.checked = values.includes(field.value);
      else if (!field.options || [...field.options].some((one) => one.value === values[0])) {
        field.value = values[0];
      }
    }
  }
}

/** Fill the selectors that depend on the view; a choice that it has too stays. */
function fillSelectors(view) {
  const label = (key) => ROWS.get(key).label;
  const keys = [view.reference, ...view.keys.filter((key) => key !== view.reference)];
  const metrics = [...new Set(view.keys.flatMap((key) => Object.keys(DATA.metrics).filter((metric) =>
    metric !== view.quality && view.sessions.concat({ name: "" }).some((session) =>
      measure(key, metric, session.name)))))];
  const options = {
    session: view.sessions.map((session) => [session.name, session.title]),
    reference: keys.map((key) => [key, label(key)]),
    measure: orderMetrics(metrics).map((metric) => [metric, DATA.metrics[metric].title]),
  };
  for (const name of BY_VIEW) {
    for (const field of fields(name)) {
      const chosen = field.value;
      field.replaceChildren(...options[name].map(([value, text]) => new Option(text, value)));
      if (options[name].some(([value]) => value === chosen)) field.value = chosen;
      field.closest("label").hidden = options[name].length < 2;
    }
  }
  for (const name of SELECTORS) for (const field of fields(name)) field.value = view.choices[name];
}

function orderMetrics(metrics) {
  const first = [...fields("sort")[0].options].map((option) => option.value);
  const place = (metric) => (first.indexOf(metric) + first.length) % first.length;
  return metrics.sort((a, b) => first.includes(b) - first.includes(a) || place(a) - place(b));
}

// --- data of the charts --------------------------------------------------------------------------

function shownRows(state, keys = state.view.keys) {
  return keys.map((key) => ROWS.get(key)).filter((row) =>
    state.show.has(row.base) && (!row.control || state.controls));
}

/** Return the keys of all rows of the comparison, those that are ranked apart included. */
function comparedKeys({ comparison }) {
  return DATA.views.filter((view) => view.comparison === comparison).flatMap((view) => view.keys);
}

function isDark() {
  return document.documentElement.dataset.theme === "dark";
}

function styleOf(row) {
  return { key: row.key, label: row.label, dash: row.dash, shape: row.shape,
    colour: isDark() ? row.dark : row.light };
}

function intervalText(line) {
  return line?.low == null ? "none" : `${short(line.low)} to ${short(line.high)}`;
}

function ratioText(line, reference) {
  if (!line || !reference?.value) return "—";
  const ratio = (line.value / reference.value).toPrecision(3);
  return `× ${ratio} of ${ROWS.get(reference.key).label}`;
}

function makeData(state) {
  const rows = shownRows(state);
  return {
    panels: panelData(state, rows), ...curveData(state, rows), ...pointData(state, rows),
    pairs: pairData(rows), ...ownData(shownRows(state, comparedKeys(state.view)), state),
  };
}

function ownData(rows, state) {
  const keys = new Set(rows.map((row) => row.key)), hidden = hiddenNames(state);
  const shown = (one) => (!("key" in one) || keys.has(one.key)) && !hidden.has(one.base);
  return Object.fromEntries([...OWN].map(([name, lines]) => [name, lines.filter(shown).map(styled)]));
}

/** Return the labels and architectures of which no row is ticked. */
function hiddenNames(state) {
  const all = [...ROWS.values()], names = (rows) => new Set(rows.flatMap((row) => [row.base, row.arch]));
  const ticked = names(all.filter((row) => state.show.has(row.base)));
  return new Set([...names(all)].filter((name) => !ticked.has(name)));
}

/** Return a record in its own style where it has one, else in that of its row. */
function styled(one) {
  if (one.light) return { ...one, colour: isDark() ? one.dark : one.light };
  const row = ROWS.get(one.key) ?? BY_BASE.get(one.base);
  return row ? { ...one, ...styleOf(row), name: one.name && row.label } : one;
}

function sortRows(state, rows) {
  if (state.sort === "label") return [...rows].sort((a, b) => a.label.localeCompare(b.label));
  const metric = state.sort === "quality" ? state.view.quality : state.sort;
  const sign = DATA.metrics[metric]?.better === "higher" ? -1 : 1;
  const value = (row) => (measure(row.key, metric, state.session)?.value ?? Infinity) * sign;
  const rank = (row) => (Number.isFinite(value(row)) ? value(row) : Infinity);
  return [...rows].sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
}

function panelData(state, rows) {
  const panels = [...fields("sort")[0].options].map((option) => option.value);
  return sortRows(state, rows).flatMap((row, order) => panels.filter((panel) => panel !== "label")
    .map((panel) => {
      const metric = panel === "quality" ? state.view.quality : panel;
      const line = measure(row.key, metric, state.session);
      const value = line?.value ?? null;
      return { ...styleOf(row), panel, order, value, low: line?.low ?? value, high: line?.high ?? value, text: line?.text ?? "—", title: DATA.metrics[metric]?.title ?? "",
        interval: intervalText(line),
        ratio: ratioText(line, measure(state.reference, metric, state.session)) };
    }));
}

function curveData(state, rows) {
  const shown = new Map(rows.map((row) => [row.key, row])), byRow = new Map();
  for (const line of CURVES) {
    if (!shown.has(line.key) || line.kind !== state.loss) continue;
    const own = byRow.get(line.key) ?? byRow.set(line.key, []).get(line.key);
    own.push({ seed: line.seed, points: smoothed(line, Number(state.smooth)) });
  }
  const curves = [...byRow].flatMap(([key, lines]) => {
    const row = shown.get(key), factor = perToken(row, state);
    const drawn = state.seeds === "each"
      ? lines.map((line) => [line.seed, line.points.map(([x, y]) => [x, [y]])])
      : [[lines.map((line) => line.seed).join(", "), byTokens(lines)]];
    return factor === null ? [] : drawn.flatMap(([seeds, points]) => points.map(([tokens, nats]) =>
      curvePoint(row, seeds, tokens * factor, nats)));
  });
  const [bottom, top] = lateRange(curves);
  const levels = records(DATA.levels).filter((level) => level.view === state.view.name
    && level.metric === "validation_nats" && level.value >= bottom && level.value <= top);
  return { curves, "curve levels": state.loss === "held-out" ? levels : [], "curve names": [],
    range: [bottom, top], uncurved: rows.length - new Set(curves.map((point) => point.key)).size };
}

const CURVES = records(DATA.curves.lines);

function curvePoint(row, seeds, x, nats) {
  const y = nats.reduce((sum, one) => sum + one, 0) / nats.length;
  return { ...styleOf(row), line: `${row.key} ${seeds.includes?.(",") ? "mean" : seeds}`, seeds: String(seeds),
    x, y, low: Math.min(...nats), high: Math.max(...nats), at: short(x), text: y.toPrecision(4) };
}

/** Return what a token is on the chosen axis; null where the row has no such number. */
function perToken(row, state) {
  if (state.over === "tokens") return 1;
  if (state.over === "FLOPs") return row.flops;
  const rate = measure(row.key, "train_tokens_per_second", state.session)?.value;
  return rate ? 1 / rate : null;
}

/** Return [tokens, nats] of a line, as an exponential moving average without its bias to zero. */
function smoothed(line, weight) {
  let average = 0, total = 0;
  return DATA.curves.grids[line.grid].map((tokens, n) => {
    average = weight * average + (1 - weight) * line.nats[n];
    total = weight * total + 1 - weight;
    return [tokens, average / total];
  });
}

function byTokens(lines) {
  const points = new Map();
  for (const [tokens, nats] of lines.flatMap((line) => line.points)) {
    (points.get(tokens) ?? points.set(tokens, []).get(tokens)).push(nats);
  }
  return [...points].sort(([a], [b]) => a - b);
}

/** Return the range of losses after the steep first phase. */
function lateRange(curves) {
  const end = Math.max(...curves.map((point) => point.x));
  const late = curves.filter((point) => point.x >= STEEP_SHARE * end);
  const low = Math.min(...curves.map((point) => point.low)), high = Math.max(...late.map((point) => point.high));
  const room = 0.05 * (high - low) || 0.1;
  return late.length ? [low - room, high + room] : [0, 1];
}

function pointData(state, rows) {
  const { view, session } = state, metric = state.measure;
  const reference = measure(state.reference, metric, session);
  const points = rows.flatMap((row) => {
    const quality = measure(row.key, view.quality, session), line = measure(row.key, metric, session);
    if (!quality || !line || (state.against !== "linear" && !(line.value > 0))) return [];
    return [{ ...styleOf(row), x: line.value, xlow: line.low, xhigh: line.high, y: quality.value,
      ylow: quality.low, yhigh: quality.high, quality: quality.text, measure: line.text,
      quality_interval: intervalText(quality), measure_interval: intervalText(line),
      ratio: ratioText(line, reference), control: row.control }];
  });
  const front = paretoFront(points.filter((point) => !point.control), DATA.metrics[metric]?.better);
  const ys = points.map((point) => point.y), span = Math.max(...ys) - Math.min(...ys);
  const levels = records(DATA.levels).filter((level) => level.view === view.name
    && level.metric === view.quality && level.value > Math.min(...ys) - span && level.value < Math.max(...ys) + span);
  return { points, front, "point levels": levels, "point names": [], undrawn: rows.length - points.length };
}

/** Return the steps through the points that no other beats in both; lower quality is better. */
function paretoFront(points, better) {
  const sign = better === "higher" ? -1 : 1;
  const best = points.filter((point) => !points.some((other) => other.y <= point.y
    && sign * other.x <= sign * point.x && (other.y < point.y || sign * other.x < sign * point.x)));
  const ordered = best.sort((a, b) => sign * (a.x - b.x));
  return ordered.flatMap((point, n) => [
    ...(n ? [{ x: point.x, y: ordered[n - 1].y }] : []), { ...point }])
    .map((point, order) => ({ ...point, order }));
}

function pairData(rows) {
  return rows.flatMap((row, order) => rows.flatMap((other, otherOrder) => {
    const pair = PAIRS.get(`${row.key}|${other.key}`);
    if (!pair) return [];
    const worse = pair.kind === "better" && pair.key !== row.key, kind = worse ? "worse" : pair.kind;
    return [{ label: row.label, other: other.label, order, other_order: otherOrder, kind,
      mark: { better: "<", worse: ">", "not distinguishable": "≈" }[kind] ?? "",
      sentence: pair.sentence, p: pText(pair), wins: pair.wins?.toFixed(2) ?? "—" }];
  }));
}

function pText(pair) {
  return pair.p === null ? "—" : pair.p < 0.001 ? "< 0.001" : pair.p.toFixed(3);
}

// --- charts --------------------------------------------------------------------------------------

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function chartConfig() {
  const ink = colourOf("--ink"), faint = colourOf("--faint"), rule = colourOf("--rule");
  return {
    background: null, font: "system-ui, sans-serif", view: { stroke: null },
    axis: { labelColor: ink, titleColor: ink, gridColor: rule, domainColor: faint, tickColor: faint,
      titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 11.5 },
    mark: { aria: false }, // no description of each of thousands of marks: the table has the numbers
    legend: { labelColor: ink, titleColor: ink }, title: { color: ink }, text: { color: ink }, header: { labelColor: ink },
  };
}

/** Fit a specification to the width of its box and to the state. */
function fitted(name, width, state) {
  const spec = structuredClone(DATA.specs[name]);
  if (name === "side-by-side") return fitPanels(spec, width, state);
  if (spec.facet) spec.columns = Math.max(1, Math.floor(width / (spec.spec.width + spec.spacing.column + AXIS_WIDTH)));
  if (name === "memory-parts") spec.width = Math.max(150, width - 2 * NAMES_WIDTH);
  if (name === "curves" || name === "tradeoff") {
    const names = name === "tradeoff" && width > 450 ? BASELINES_WIDTH : NAMES_WIDTH;
    spec.width = Math.max(150, width - AXIS_WIDTH - names);
    spec.padding = { left: 5, top: 5, bottom: 5, right: names };
    const log = name === "curves" ? state.scale === "log" : state.against !== "linear";
    const metric = DATA.metrics[state.measure];
    const title = name === "curves"
      ? { tokens: "training tokens", FLOPs: "training FLOPs", seconds: "seconds = tokens / measured rate" }[state.over]
      : `${metric?.title} (${metric?.better === "neither" ? metric.unit : `${metric?.unit}, ${metric?.better} is better`})`;
    const quality = DATA.metrics[state.view.quality]?.title;
    for (const layer of spec.layer) adaptLayer(layer, log, title, name === "tradeoff" ? quality : null);
  }
  return spec;
}

function adaptLayer({ encoding: { x, y } }, log, title, quality) {
  if (x?.field && x.scale !== null) Object.assign(x, { title, scale: { ...x.scale, ...(log ? { type: "log", zero: undefined } : {}) } });
  if (log && x?.axis) x.axis = { ...x.axis, tickCount: LOG_TICKS };
  if (quality && y?.field && y.scale !== null) y.title = `${quality} (lower is better)`;
}

function fitPanels(spec, width, state) {
  const measured = new Set(data.panels.filter((one) => one.value !== null).map((one) => one.panel));
  const panels = fields("sort")[0].options;
  spec.hconcat = spec.hconcat.filter((_, n) => n === 0 || measured.has(panels[n].value));
  const count = spec.hconcat.length, number = spec.spacing;
  const names = Math.min(170, 8 + 6.6 * Math.max(...shownRows(state).map((row) => row.label.length), 4));
  const free = (width - names - 14) / count - number;
  spec.hconcat[0].layer[0].encoding.x.title = DATA.metrics[state.view.quality]?.title ?? "quality";
  for (const panel of spec.hconcat) panel.width = Math.max(60, Math.min(free, 260));
  if (free >= 60) return spec;
  const axis = spec.hconcat[0].layer[0].encoding.y.axis; // too narrow: one panel below another
  for (const panel of spec.hconcat) {
    panel.width = width - names - number - 14;
    for (const layer of panel.layer) layer.encoding.y.axis = axis;
  }
  const { hconcat, ...rest } = spec;
  return { ...rest, vconcat: hconcat, spacing: 48 };
}

async function draw(name) {
  const box = document.querySelector(`[data-chart="${CSS.escape(name)}"]`);
  if (!box.offsetParent) return; // in a closed fold: drawn when it opens
  const spec = fitted(name, box.clientWidth, readState());
  spec.datasets = Object.fromEntries(usedData(spec).map((one) => [one, copyData(one)]));
  const params = { ink: colourOf("--ink"), faint: colourOf("--faint"), bottom: data.range?.[0], top: data.range?.[1] };
  for (const param of spec.params ?? []) if (param.name in params) param.value = params[param.name];
  charts.get(name)?.finalize();
  const { view } = await vegaEmbed(box, spec, {
    mode: "vega-lite", renderer: "svg", config: chartConfig(), ast: true,
    expr: vegaInterpreter.expressionInterpreter, tooltip: { theme: isDark() ? "dark" : "light" },
    logLevel: vega.Error, actions: { export: true, source: false, compiled: false, editor: false }, downloadFileName: name,
  });
  charts.set(name, view);
  box.querySelector("summary")?.setAttribute("aria-label", "save this chart");
  placeNames(name, view);
}

function usedData(spec) {
  const text = JSON.stringify(spec);
  return Object.keys(data).filter((name) => text.includes(`{"name":${JSON.stringify(name)}}`));
}

function copyData(name) {
  return data[name].map((one) => ({ ...one }));
}

function refresh(name, view) {
  for (const one of usedData(DATA.specs[name])) view.data(one, copyData(one));
  if (name === "curves") view.signal("bottom", data.range[0]).signal("top", data.range[1]);
  view.resize().run(); // rows that come or go change the height
  placeNames(name, view);
}

/** Write names at the ends of lines, and beside the points of the Pareto front. */
function placeNames(name, view) {
  const source = { curves: lastPoints, tradeoff: namedPoints }[name];
  if (!source) return;
  const [x, y] = [view.scale("x"), view.scale("y")], [width, height] = [view.width(), view.height()];
  const wanted = source().map((point) => ({ label: point.label, colour: point.colour, key: point.key,
    x: name === "curves" || !point.key ? width : x(point.x), y: y(point.y) }));
  const placed = name === "curves" ? stack(wanted, height) : spread(wanted, height), keys = new Set(placed.map((one) => one.key));
  view.data(name === "curves" ? "curve names" : "point names", placed);
  if (name === "tradeoff") view.data("points", data.points.map((point) => ({ ...point, named: keys.has(point.key) })));
  view.run();
}

/** Return what has a name in that order, as far as there is room: the front, other rows, baselines. */
function namedPoints() {
  const front = new Set(data.front.map((point) => point.key)), { points } = data;
  const rows = points.length > MAX_NAMED ? points.filter((point) => front.has(point.key)) : points;
  const lines = data["point levels"].map((level) => ({ label: level.name, colour: colourOf("--faint"), y: level.value }));
  return [...[...rows].sort((a, b) => front.has(b.key) - front.has(a.key)), ...lines];
}

function lastPoints() {
  const last = new Map();
  for (const point of data.curves) if (!(last.get(point.key)?.x > point.x)) last.set(point.key, point);
  return [...last.values()].sort((a, b) => b.y - a.y);
}

/** Move the labels of a column apart in their order; of more than there is room for, keep the lowest. */
function stack(labels, height) {
  const room = height + LINE_HEIGHT, most = Math.floor(room / LINE_HEIGHT) + 1;
  const placed = [...labels].sort((a, b) => a.y - b.y).slice(-most).map((one) => ({ ...one }));
  placed.forEach((one, n) => { one.y = Math.max(one.y, n ? placed[n - 1].y + LINE_HEIGHT : 0); });
  let limit = room;
  for (const one of placed.reverse()) { one.y = Math.min(one.y, limit); limit = one.y - LINE_HEIGHT; }
  return placed;
}

/** Move labels up or down, in their order, until none covers another; those without room are left out. */
function spread(labels, height) {
  const placed = [];
  const isApart = (one, other) => Math.abs(other.x - one.x) > 6.5 * Math.max(other.label.length, one.label.length);
  const isFree = (one, y) => y >= 0 && y <= height + LINE_HEIGHT && placed.every((other) => isApart(one, other)
    || (Math.abs(other.y - y) >= LINE_HEIGHT && (other.y - y) * (other.wanted - one.y) >= 0));
  for (const one of labels) {
    const steps = [0, 1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 8, -8].map((step) => one.y + step * LINE_HEIGHT / 2);
    const y = steps.find((candidate) => isFree(one, candidate));
    if (y !== undefined) placed.push({ ...one, y, wanted: one.y });
  }
  return placed;
}

// --- tables --------------------------------------------------------------------------------------

function filterTables(state) {
  const hidden = hiddenNames(state), isHidden = (name) => hidden.has(name?.replace(/ again$/, ""));
  for (const row of document.querySelectorAll("table.sortable > tbody > tr")) {
    const key = row.dataset.key, name = row.cells[0].dataset.value;
    const isControl = key ? ROWS.get(key).control : / again$/.test(name);
    const isBaseline = !key && row.closest("[data-view]") && !state.baselines;
    row.hidden = isBaseline || name?.split(" · ").some(isHidden) || (isControl && !state.controls);
  }
  for (const box of document.querySelectorAll("[data-rows]")) {
    const names = JSON.parse(box.dataset.rows);
    box.hidden = "pair" in box.dataset ? names.some(isHidden) : names.every(isHidden);
  }
  for (const box of document.querySelectorAll("[data-view]")) box.hidden = box.dataset.view !== state.view.name;
  for (const box of document.querySelectorAll("[data-comparison]")) {
    box.hidden = box.dataset.comparison !== state.view.comparison;
  }
  for (const card of document.querySelectorAll("[data-session]")) {
    card.hidden = state.view.sessions.length > 0 && card.dataset.session !== state.session;
  }
  const section = document.getElementById("table");
  for (const field of fields("columns")) section.classList.toggle(`without-${field.value}`, !field.checked);
}

function fillTable(state) {
  const table = document.querySelector(`[data-view="${CSS.escape(state.view.name)}"] table`);
  if (!table) return;
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const metric = head.dataset.metric;
    if (!metric) return;
    for (const row of table.tBodies[0].rows) {
      if (metric === "verdict" || metric === "p") fillVerdict(row, place, metric, state);
      else if (state.view.sessions.length > 1) fillMeasure(row, place, metric, state.session);
    }
  });
}

function setCell(cell, text, small, value, title) {
  cell.replaceChildren(text);
  if (small) cell.append(Object.assign(document.createElement("small"), { textContent: small }));
  if (value === null || value === undefined) delete cell.dataset.value;
  else cell.dataset.value = value;
  cell.title = title ?? "";
}

function fillVerdict(row, place, metric, state) {
  const { key } = row.dataset, pair = PAIRS.get(`${key}|${state.reference}`), cell = row.cells[place];
  if (key === state.reference) return setCell(cell, metric === "p" ? "" : "the reference", "", null);
  if (!pair) return setCell(cell, "—", "", null);
  if (metric === "p") return setCell(cell, pText(pair), "", pair.p);
  const isFirst = pair.key === key, difference = isFirst ? -pair.difference : pair.difference;
  const kind = pair.kind === "better" && !isFirst ? "worse" : pair.kind;
  const half = pair.half === null ? "" : ` ± ${pair.half.toFixed(3)}`;
  setCell(cell, kind, `${difference > 0 ? "+" : "−"}${Math.abs(difference).toFixed(3)}${half}`, difference, pair.sentence);
}

function fillMeasure(row, place, metric, session) {
  const line = MEASURES.get(`${row.dataset.key}|${session}|${metric}`);
  const cell = row.cells[place];
  if (line) setCell(cell, line.text, "", line.value);
  else if (/\bg-(speed|memory)\b/.test(cell.className)) setCell(cell, "—", "", null);
}

function isHigherBetter({ dataset }) {
  return (DATA.metrics[dataset.metric]?.better ?? dataset.better) === "higher";
}

/** Sort by a column, the best first, or where that is unknown the lowest; the other way at the next click. */
function sortTable(table, column, order = "") {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const before = heads[column].getAttribute("aria-sort");
  const descending = order ? order === "descending" : before === "none" ? isHigherBetter(heads[column]) : before === "ascending";
  for (const head of heads) head.setAttribute("aria-sort", "none");
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.value;
  body.append(...[...body.rows].sort((first, second) => {
    const [a, b] = [value(first), value(second)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return descending ? -order : order;
  }));
}

/** Return the rows and columns of a table that are shown, as texts. */
function tableTexts(table) {
  const text = (cell) => [...cell.childNodes].filter((node) => !node.matches?.("small, .badge"))
    .map((node) => node.textContent).join("").trim();
  return [...table.rows].filter((row) => !row.hidden).map((row) => [...row.cells]
    .filter((cell) => cell.offsetParent !== null || cell.getClientRects().length)
    .map((cell) => ({
      text: text(cell), value: cell.dataset.value,
      small: cell.querySelector("small")?.textContent.trim() ?? "",
    })));
}

/** Return a cell's text with what stands below it, an interval for example. */
function cellText({ text, small }) {
  return small ? `${text} (${small})` : text;
}

const FORMATS = {
  /** A column of values; another of the texts where they say more: intervals, verdicts. */
  CSV(rows) {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const more = rows[0].map((_, n) => rows.slice(1).some((row) => row[n].small));
    return rows.map((row, number) => row.flatMap((cell, n) => {
      const value = cell.value ?? cell.text.replace(/^—$/, "");
      const own = quoted(number ? value : cell.text);
      return more[n] ? [own, quoted(number ? cellText(cell) : `${cell.text} (text)`)] : [own];
    }).join(",")).join("\n");
  },
  Markdown(rows) {
    const line = (cells) => `| ${cells.join(" | ")} |`;
    const lines = rows.map((row) => line(row.map((cell) => cellText(cell).replaceAll("|", "\\|"))));
    return [lines[0], line(rows[0].map((_, n) => (n ? "---:" : ":---"))), ...lines.slice(1)].join("\n");
  },
  LaTeX(rows) {
    const escaped = (text) => text.replace(/[\\{}&%$#_~^]/g, (one) =>
      ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[one] ?? `\\${one}`);
    const lines = rows.map((row) => `${row.map((cell) => escaped(cellText(cell))).join(" & ")} \\\\`);
    return [`\\begin{tabular}{l${"r".repeat(rows[0].length - 1)}}`, "\\toprule", lines[0], "\\midrule",
      ...lines.slice(1), "\\bottomrule", "\\end{tabular}"].join("\n");
  },
};

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}

// --- start ---------------------------------------------------------------------------------------

function update(changed = "") {
  if (!DATA.views.length) return;
  const state = readState();
  if (SELECTORS.includes(changed)) state.view = currentView(state, changed);
  fillSelectors(state.view);
  const now = readState();
  data = makeData(now);
  filterTables(now);
  fillTable(now);
  writeNotes();
  const count = shownRows(now).length, all = now.view.keys.length;
  document.getElementById("count").textContent = `${count} of ${all} rows`;
  markFamilies();
  setTimeout(writeAddress);
  return now;
}

/** Say what the charts do not show. */
function writeNotes() {
  const notes = {
    curves: data.uncurved && `${data.uncurved} of the rows have no such curve.`,
    side: unmeasured(),
    tradeoff: data.undrawn && `${data.undrawn} of the rows have no value there, or none above 0 on the logarithmic scale.`,
  };
  for (const place of document.querySelectorAll("[data-note]")) place.textContent = notes[place.dataset.note] || "";
}

function unmeasured() {
  const measured = new Set(data.panels.filter((one) => one.value !== null).map((one) => one.panel));
  const missing = [...fields("sort")[0].options].filter((one) => one.value !== "label" && !measured.has(one.value));
  return missing.length && `Not measured for these rows: ${missing.map((one) => one.textContent).join("; ")}.`;
}

const REDRAWN = new Set(["loss", "over", "scale", "against", "measure", "theme", ...SELECTORS]);

function onChange(event) {
  const { name } = event.target;
  if (event.target.matches(".family")) setFamily(event.target);
  if (name === "theme") applyTheme();
  update(name);
  if (REDRAWN.has(name)) drawAll();
  else for (const [chart, view] of charts) refresh(chart, view);
}

function setFamily(box) {
  for (const field of box.closest("fieldset").querySelectorAll("[name=show]")) field.checked = box.checked;
}

function markFamilies() {
  for (const group of document.querySelectorAll(".chips fieldset")) {
    const own = [...group.querySelectorAll("[name=show]")], shown = own.filter((field) => field.checked);
    const box = group.querySelector(".family");
    Object.assign(box, { checked: shown.length > 0, indeterminate: shown.length % own.length > 0 });
  }
}

function applyTheme() {
  const chosen = fields("theme")[0].value, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "auto" ? (dark ? "dark" : "light") : chosen;
}

function drawAll() {
  return Promise.all(Object.keys(DATA.views.length ? DATA.specs : {}).map(draw));
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const inner = target.querySelector(":scope > details");
  for (let fold = inner ?? target; fold; fold = fold.parentElement) if (fold.matches("details")) fold.open = true;
  target.scrollIntoView();
}

function addCopyButtons() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const line = Object.assign(document.createElement("p"), { className: "copy", textContent: "copy as " });
    for (const [name, format] of Object.entries(FORMATS)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.addEventListener("click", () => copy(format(tableTexts(table)), button));
      line.append(button, " ");
    }
    table.parentElement.after(line);
    [...table.tHead.rows[0].cells].forEach((head, column) =>
      head.querySelector("button").addEventListener("click", () => { sortTable(table, column); writeAddress(); }));
  }
}

function printLight() {
  const folds = [...document.querySelectorAll("details:not([open])")];
  for (const fold of folds) fold.open = true;
  document.documentElement.dataset.theme = "light";
  update();
  drawAll();
  addEventListener("afterprint", () => {
    for (const fold of folds) fold.open = false;
    changeTheme();
  }, { once: true });
}

function startFilter() {
  const query = new URLSearchParams(location.search);
  restore(query);
  applyTheme();
  fillSelectors(currentView(Object.fromEntries(query)));
  restore(query);
  update();
  document.getElementById("show-all").addEventListener("click", (event) => {
    for (const field of fields("show")) field.checked = true;
    onChange(event);
  });
  document.getElementById("copy-link").addEventListener("click", (event) => copy(location.href, event.target));
}

/** Draw what is in a fold when it is opened for the first time. */
function drawOpened({ target }) {
  for (const { dataset } of target.querySelectorAll?.("[data-chart]") ?? []) if (!charts.has(dataset.chart)) draw(dataset.chart);
}

function changeTheme() {
  applyTheme();
  update();
  drawAll();
}

function start() {
  applyTheme();
  addCopyButtons();
  if (DATA.views.length) startFilter();
  restoreOrder(new URLSearchParams(location.search));
  drawAll().then(() => { document.documentElement.dataset.ready = "true"; });
  addEventListener("change", onChange);
  addEventListener("toggle", drawOpened, true);
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", printLight);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changeTheme);
  let resized;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawAll, 200); });
  openTarget();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button.dataset.copy, button));
}
start();
