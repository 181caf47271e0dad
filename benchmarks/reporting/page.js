"use strict";
// The leaderboard page: tabs of protocols, filters, a sortable table, and details of measured runs.
// `html_page.py` puts this script and the data into page.html.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = id => document.getElementById(id);
const FILTERS = ["dataset", "metric", "setting"];
// board: the protocol shown; sort: field or group of networks, null for the order of the data; open: rows with details
const state = { board: data.protocols[0], sort: null, ascending: false, open: new Set() };

/* Elements */

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svgElement(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

/* Tabs and filters */

function showBoard(board) {
  Object.assign(state, { board, sort: null, ascending: false });
  state.open.clear();
  byId("tabs").replaceChildren(...data.protocols.map(other => {
    const tab = element("button", { role: "tab", "aria-selected": other === board, "data-protocol": other.name }, other.name);
    tab.onclick = () => showBoard(other);
    return tab;
  }));
  byId("about").textContent = board.about[0].toUpperCase() + board.about.slice(1) + ".";
  fillFilter(byId("dataset"), "all data sets", "dataset");
  fillFilter(byId("metric"), "all metrics", "metric");
  fillFilter(byId("setting"), "all settings", "setting");
  renderTable();
}

// Offer the values that a field has on this board; a chosen value stays if it is among them.
function fillFilter(select, allText, field) {
  const values = [...new Set(state.board.lines.map(line => line[field]))];
  const chosen = select.options.length ? select.value : "*";
  const options = values.map(value => element("option", { value }, value || "default"));
  select.replaceChildren(element("option", { value: "*" }, allText), ...options);
  select.value = values.includes(chosen) ? chosen : "*";
  select.hidden = values.length < 2;
}

function isVisible(line) {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${line.model} ${line.source}`.toLowerCase();
  const fits = field => byId(field).value === "*" || byId(field).value === line[field];
  return words.every(word => text.includes(word)) && FILTERS.every(fits) &&
    byId(line.status === "published" ? "published" : "measured").checked;
}

/* Order */

function sortValue(line) {
  if (state.board.groups.includes(state.sort)) return line.values[state.sort]?.[0] ?? undefined;
  return line[state.sort] ?? undefined;
}

function sorted(lines) {
  if (state.sort === null) return lines;
  const sign = state.ascending ? 1 : -1;
  return [...lines].sort((a, b) => {
    const [x, y] = [sortValue(a), sortValue(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);  // missing values come last
    if (a.complete !== b.complete) return b.complete - a.complete;  // then rows of some networks, which are not ranked
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
}

// Sort by a column: text ascending and numbers descending at first, the reverse at the second click.
function sortBy({ sort, text }) {
  state.ascending = state.sort === sort ? !state.ascending : Boolean(text);
  state.sort = sort;
  renderTable();
}

/* Table */

function renderTable() {
  const lines = sorted(state.board.lines.filter(isVisible));
  const groups = state.board.groups.filter(group => lines.some(line => group in line.values));
  const extras = FILTERS.filter(field => new Set(lines.map(line => line[field])).size > 1);
  const columns = [
    { name: "model", text: true, sort: "model" }, ...extras.map(name => ({ name, text: true, sort: name })),
    ...groups.map(name => ({ name, sort: name })), { name: "networks", sort: "networks" }, { name: "failed", sort: "failed" },
    { name: "status", text: true, sort: "status" }, { name: "source", text: true, sort: "source" },
  ];
  const table = byId("board"), best = bestValues(lines, groups);
  table.tHead.replaceChildren(headRow(columns));
  table.tBodies[0].replaceChildren(...lines.flatMap(line => rowsOf(line, groups, extras, best, columns.length)));
  if (!lines.length) {
    const cell = element("td", { class: "empty", colspan: columns.length }, "Nothing matches.");
    table.tBodies[0].append(element("tr", {}, cell));
  }
  byId("count").textContent = `${lines.length} of ${state.board.lines.length} rows`;
}

function headRow(columns) {
  return element("tr", {}, ...columns.map(column => {
    const button = element("button", { tabindex: 0, "data-sort": column.sort }, column.name);
    const cell = element("th", { class: column.text ? "text" : "", scope: "col" }, button);
    if (state.sort === column.sort) cell.setAttribute("aria-sort", state.ascending ? "ascending" : "descending");
    button.onclick = () => sortBy(column);
    button.onkeydown = event => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sortBy(column);
    };
    return cell;
  }));
}

// Values of complete rows are compared within a data set, metric and setting.
function bestKey(line, group) { return [line.dataset, line.metric, line.setting, group].join("|"); }

function bestValues(lines, groups) {
  const best = {};
  for (const line of lines.filter(line => line.complete)) for (const group of groups) {
    const key = bestKey(line, group), value = line.values[group]?.[0];
    if (value !== undefined && value !== null) best[key] = Math.max(best[key] ?? -1, value);
  }
  return best;
}

// The row of a line, and a row with details if it is open.
function rowsOf(line, groups, extras, best, width) {
  const run = data.runs[line.source];
  const row = element("tr", { class: run ? "measured" : "" },
    element("td", { class: "text model" }, line.model),
    ...extras.map(field => element("td", { class: "text" }, line[field])),
    ...groups.map(group => valueCell(line, group, best)),
    element("td", { class: "networks" }, networksText(line)),
    element("td", {}, line.failed === null ? "" : String(line.failed)),
    element("td", { class: "text" }, element("span", { class: "tag" + (run ? " measured" : "") }, line.status.replace("_", " ")),
      ...(line.complete ? [] : [" ", element("span", { class: "tag partial" }, "partial")])),
    element("td", { class: "text source", title: line.source }, line.source));
  if (!run) return [row];
  const id = line.source + line.metric;
  row.onclick = () => {
    if (!state.open.delete(id)) state.open.add(id);
    renderTable();
  };
  if (!state.open.has(id)) return [row];
  row.classList.add("open");
  return [row, element("tr", { class: "detail" }, element("td", { colspan: width }, detail(line, run)))];
}

function networksText(line) {
  if (line.networks === null) return "";
  return line.complete ? String(line.networks) : `${line.measured} of ${line.needed}`;
}

function valueCell(line, group, best) {
  const [value, ...errors] = line.values[group] ?? [null];
  if (value === null) return element("td");
  const { digits, bar } = state.board, text = number => number.toFixed(digits);
  const isBest = line.complete && best[bestKey(line, group)] === value;
  const cell = element("td", { class: "value" + (isBest ? " best" : ""), style: `--share: ${Math.max(0, value * bar)}%` },
    element("span", { class: "mean" }, text(value)));
  if (errors.length && !errors.includes(null)) {
    const spread = errors.length > 1 ? `[${errors.map(text).join(", ")}]` : "±" + text(errors[0]);
    cell.append(element("span", { class: "error" }, spread));
  }
  return cell;
}

/* Details of a run */

function detail(line, run) {
  const facts = Object.entries({ date: line.date, networks: String(line.networks), ...run.about });
  const list = element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  const plot = line.metric in run.points ? accuracyPlot(run, line.metric) : rankPlot(run);
  return element("div", { class: "detail-grid" }, plot, list);
}

function pointRadius(points) { return points.length > 150 ? 1.8 : 2.6; }

// A column of points for each group, its mean as a bar, and chance level as a dotted line.
function accuracyPlot(run, metric) {
  const groups = Object.keys(run.points[metric]), step = 92, height = 210, left = 34, right = left + step * groups.length;
  const y = value => 12 + (height - 40) * (1 - value / 100);
  const plot = svgElement("svg", { width: right + 10, height, role: "img", "aria-label": `${metric} of each network` });
  for (const tick of [0, 25, 50, 75, 100]) {
    plot.append(svgElement("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: "axis" }),
      svgElement("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick));
  }
  if (metric === "top1") plot.append(svgElement("line", { x1: left, x2: right, y1: y(run.chance), y2: y(run.chance), class: "chance" }));
  groups.forEach((group, place) => {
    const values = run.points[metric][group], middle = left + step * (place + 0.5);
    values.forEach((value, i) => {
      const shift = ((i * 0.618034) % 1 - 0.5) * step * 0.62;  // spread evenly, the same each time
      plot.append(svgElement("circle", { cx: middle + shift, cy: y(value), r: pointRadius(values) }));
    });
    const mean = values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
    plot.append(svgElement("line", { x1: middle - step * 0.36, x2: middle + step * 0.36, y1: y(mean), y2: y(mean), class: "mean" }),
      svgElement("text", { x: middle, y: height - 8, "text-anchor": "middle" }, group));
  });
  return plot;
}

// For each group, the rank of every network by its true value against its rank by score.
function rankPlot(run) {
  const groups = Object.entries(run.pairs), side = 190, step = side + 26;
  const plot = svgElement("svg", { width: step * groups.length, height: side + 44, role: "img", "aria-label": "rank by score and by truth of each network" });
  groups.forEach(([group, pairs], place) => {
    const left = 20 + step * place, x = rank => left + side * rank, y = rank => 6 + side * (1 - rank);
    plot.append(svgElement("line", { x1: left, x2: left + side, y1: y(0), y2: y(0), class: "axis" }),
      svgElement("line", { x1: left, x2: left, y1: y(0), y2: y(1), class: "axis" }),
      svgElement("text", { x: left + side / 2, y: side + 22, "text-anchor": "middle" }, "rank by score"),
      svgElement("text", { x: left + side / 2, y: side + 38, "text-anchor": "middle" }, group),
      svgElement("text", { x: left - 6, y: 6 + side / 2, "text-anchor": "middle", transform: `rotate(-90 ${left - 6} ${6 + side / 2})` }, "rank by truth"));
    for (const [score, truth] of pairs) plot.append(svgElement("circle", { cx: x(score), cy: y(truth), r: pointRadius(pairs) }));
  });
  return plot;
}

for (const id of ["search", ...FILTERS, "published", "measured"]) byId(id).oninput = byId(id).onchange = renderTable;
showBoard(data.protocols.find(board => board.name === "no_finetune") ?? data.protocols[0]);
