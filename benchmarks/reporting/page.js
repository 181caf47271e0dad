"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const state = { board: data.protocols[0], sort: null, up: false, open: new Set() };

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function fill(select, name, key) {
  const values = [...new Set(state.board.lines.map(line => line[key]))];
  const kept = select.options.length ? select.value : "*";
  select.replaceChildren(element("option", { value: "*" }, name), ...values.map(v => element("option", { value: v }, v || "default")));
  select.value = values.includes(kept) ? kept : "*";
  select.hidden = values.length < 2;
}

function show(board) {
  Object.assign(state, { board, sort: null, up: false });
  state.open.clear();
  $("tabs").replaceChildren(...data.protocols.map(other => {
    const tab = element("button", { role: "tab", "aria-selected": other === board, "data-protocol": other.name }, other.name);
    tab.onclick = () => show(other);
    return tab;
  }));
  $("about").textContent = board.about[0].toUpperCase() + board.about.slice(1) + ".";
  fill($("dataset"), "all data sets", "dataset");
  fill($("metric"), "all metrics", "metric");
  fill($("setting"), "all settings", "setting");
  draw();
}

function visible(line) {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${line.model} ${line.source}`.toLowerCase();
  const chosen = key => $(key).value === "*" || $(key).value === line[key];
  return words.every(word => text.includes(word)) && chosen("dataset") && chosen("metric") && chosen("setting") &&
    $(line.status === "published" ? "published" : "measured").checked;
}

function key(line) {
  if (state.board.groups.includes(state.sort)) return line.values[state.sort]?.[0] ?? undefined;
  return line[state.sort] ?? undefined;
}

function ordered(lines) {
  if (state.sort === null) return lines;
  const sign = state.up ? 1 : -1;
  return [...lines].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);  // what is missing comes last
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y)));
  });
}

function head(columns) {
  return element("tr", {}, ...columns.map(({ name, text, sort }) => {
    const button = element("button", { tabindex: 0, "data-sort": sort }, name);
    const cell = element("th", { class: text ? "text" : "", scope: "col" }, button);
    if (state.sort === sort) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    button.onclick = () => {
      state.up = state.sort === sort ? !state.up : Boolean(text);
      state.sort = sort;
      draw();
    };
    button.onkeydown = event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); button.onclick(); } };
    return cell;
  }));
}

function draw() {
  const lines = ordered(state.board.lines.filter(visible));
  const groups = state.board.groups.filter(group => lines.some(line => group in line.values));
  const several = key => new Set(lines.map(line => line[key])).size > 1;
  const extras = ["dataset", "metric", "setting"].filter(several);
  const columns = [
    { name: "model", text: true, sort: "model" }, ...extras.map(name => ({ name, text: true, sort: name })),
    ...groups.map(name => ({ name, sort: name })), { name: "failed", sort: "failed" },
    { name: "status", text: true, sort: "status" }, { name: "source", text: true, sort: "source" },
  ];
  const table = $("board");
  table.tHead.replaceChildren(head(columns));
  const best = bests(lines, groups);
  const rows = lines.flatMap(line => row(line, groups, extras, best, columns.length));
  table.tBodies[0].replaceChildren(...rows);
  if (!lines.length) table.tBodies[0].append(element("tr", {}, element("td", { class: "empty", colspan: columns.length }, "Nothing matches.")));
  $("count").textContent = `${lines.length} of ${state.board.lines.length} rows`;
}

function kind(line) { return [line.dataset, line.metric, line.setting].join("|"); }

function bests(lines, groups) {
  const best = {};
  for (const line of lines) for (const group of groups) {
    const place = kind(line) + "|" + group, value = line.values[group]?.[0];
    if (value !== undefined && value !== null) best[place] = Math.max(best[place] ?? -1, value);
  }
  return best;
}

function row(line, groups, extras, best, width) {
  const run = data.runs[line.source];
  const cells = groups.map(group => {
    const [value, ...errors] = line.values[group] ?? [null];
    if (value === null) return element("td");
    const { digits, bar } = state.board, text = number => number.toFixed(digits);
    const top = best[kind(line) + "|" + group] === value;
    const cell = element("td", { class: "value" + (top ? " best" : ""), style: `--share: ${Math.max(0, value * bar)}%` },
      element("span", { class: "mean" }, text(value)));
    if (!errors.includes(null) && errors.length)
      cell.append(element("span", { class: "error" }, errors.length > 1 ? `[${errors.map(text).join(", ")}]` : "±" + text(errors[0])));
    return cell;
  });
  const node = element("tr", { class: run ? "measured" : "" },
    element("td", { class: "text model" }, line.model), ...extras.map(key => element("td", { class: "text" }, line[key])), ...cells,
    element("td", {}, line.failed === null ? "" : String(line.failed)),
    element("td", { class: "text" }, element("span", { class: "tag" + (run ? " measured" : "") }, line.status.replace("_", " "))),
    element("td", { class: "text source", title: line.source }, line.source));
  if (!run) return [node];
  const id = line.source + line.metric;
  node.onclick = () => { state.open.has(id) ? state.open.delete(id) : state.open.add(id); draw(); };
  if (!state.open.has(id)) return [node];
  node.classList.add("open");
  const about = element("dl", {}, ...Object.entries({ date: line.date, networks: String(line.networks), ...run.about })
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  const picture = line.metric in run.points ? distribution(run, line.metric) : scatter(run);
  const detail = element("div", { class: "detail-grid" }, picture, about);
  return [node, element("tr", { class: "detail" }, element("td", { colspan: width }, detail))];
}

function distribution(run, metric) {
  const groups = Object.keys(run.points[metric]), step = 92, height = 210, left = 34;
  const y = value => 12 + (height - 40) * (1 - value / 100);
  const picture = svg("svg", { width: left + step * groups.length + 10, height, role: "img", "aria-label": `${metric} of each network` });
  for (const tick of [0, 25, 50, 75, 100]) {
    picture.append(svg("line", { x1: left, x2: left + step * groups.length, y1: y(tick), y2: y(tick), class: "axis" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick));
  }
  if (metric === "top1") picture.append(svg("line", { x1: left, x2: left + step * groups.length, y1: y(run.chance), y2: y(run.chance), class: "chance" }));
  groups.forEach((group, place) => {
    const values = run.points[metric][group], middle = left + step * (place + 0.5);
    values.forEach((value, i) => {
      const shift = ((i * 0.618034) % 1 - 0.5) * step * 0.62;  // evenly spread, the same each time
      picture.append(svg("circle", { cx: middle + shift, cy: y(value), r: values.length > 150 ? 1.8 : 2.6 }));
    });
    const mean = values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);
    picture.append(svg("line", { x1: middle - step * 0.36, x2: middle + step * 0.36, y1: y(mean), y2: y(mean), class: "mean" }),
      svg("text", { x: middle, y: height - 8, "text-anchor": "middle" }, group));
  });
  return picture;
}

function scatter(run) {
  const groups = Object.entries(run.pairs), side = 190, step = side + 26;
  const picture = svg("svg", { width: step * groups.length, height: side + 44, role: "img", "aria-label": "rank by score and by truth of each network" });
  groups.forEach(([group, pairs], place) => {
    const left = 20 + step * place, x = rank => left + side * rank, y = rank => 6 + side * (1 - rank);
    picture.append(svg("line", { x1: left, x2: left + side, y1: y(0), y2: y(0), class: "axis" }),
      svg("line", { x1: left, x2: left, y1: y(0), y2: y(1), class: "axis" }),
      svg("text", { x: left + side / 2, y: side + 22, "text-anchor": "middle" }, "rank by score"),
      svg("text", { x: left + side / 2, y: side + 38, "text-anchor": "middle" }, group),
      svg("text", { x: left - 6, y: 6 + side / 2, "text-anchor": "middle", transform: `rotate(-90 ${left - 6} ${6 + side / 2})` }, "rank by truth"));
    for (const [score, truth] of pairs) picture.append(svg("circle", { cx: x(score), cy: y(truth), r: pairs.length > 150 ? 1.8 : 2.6 }));
  });
  return picture;
}

for (const id of ["search", "dataset", "metric", "setting", "published", "measured"]) $(id).oninput = $(id).onchange = draw;
show(data.protocols.find(board => board.name === "no_finetune") ?? data.protocols[0]);
