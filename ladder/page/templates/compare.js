"use strict";
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;
const facts = JSON.parse($("#facts").textContent);

// ---- light and dark
$("#theme").addEventListener("click", () => {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const next = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* a browser that keeps nothing */ }
});

// ---- the chart
const box = $("#chart");
const DAY = 864e5;
const { story, levels } = facts;
const start = Date.parse(story.start), end = Date.parse(story.end);
const family = getComputedStyle(document.body).fontFamily;
const hidden = new Set();
const numbers = Object.keys(levels).sort();
const incidents = story.incidents.map((each, at) => ({ ...each, name: $$("#incidents h3")[at].firstChild.textContent.trim() }));

// A trace's `uid` becomes a class of its SVG (`tracelevel3`), which the style sheet colours by.
function line(uid, name, values, width, more) {
  return { uid, name, type: "scatter", mode: "lines", x0: story.start, dx: DAY, y: values, line: { width }, text: "",
    hovertemplate: `<b>${name}</b><br>%{x|%-d %B %Y}<br>%{y:.1f} bikes an hour%{text}<extra></extra>`, ...more };
}

// A mark on the line for each release but that of the first day, which every level has.
function releases(number) {
  const { released_on, error_7_days } = levels[number];
  const error = (day) => error_7_days[(Date.parse(day) - start) / DAY];  // the line begins after the first week
  const days = released_on.filter((day) => Date.parse(day) > start && error(day) != null);
  return { uid: `releases${number}`, type: "scatter", mode: "markers", x: days, y: days.map(error),
    marker: { symbol: "circle" }, hoverinfo: "skip", cliponaxis: false };
}

function lines() {
  const daily = facts.retrained_daily;
  const released = (number) => levels[number].error_7_days.map((_, at) =>
    levels[number].released_on.includes(new Date(start + at * DAY).toISOString().slice(0, 10)) ? "<br>released" : "");
  return [
    ...(daily ? [line("daily", "Retrained daily", daily.error_7_days, 2, { line: { width: 2, dash: "4px,4px" } })] : []),
    ...numbers.map((each) => line(`level${each}`, `Level ${each}`, levels[each].error_7_days, 2.5, { text: released(each) })),
    ...numbers.map(releases),  // above all lines, so that no line hides a release
  ];
}
const drawn = lines();

function wide(text, size) {
  const pen = (wide.pen ??= document.createElement("canvas").getContext("2d"));
  pen.font = `${size}px ${family}`;
  return pen.measureText(text).width;
}

// Names of incidents stand above the plot, each in the first line in which it meets no other.
function names(width, left, size) {
  const lines = [];
  const found = incidents.map((each) => {
    const at = left + (Date.parse(each.since) - start) / (end - start) * width;
    const long = wide(each.name, size) + 10;
    const from = Math.min(at, left + width - long);
    let line = lines.findIndex((taken) => taken <= from);
    if (line < 0) line = lines.length;
    lines[line] = from + long;
    return { each, line, turned: from < at };
  });
  return { found, count: lines.length };
}

const PAPER = 760;  // pixels across a page of paper, on which text stays readable
let printing = false;
const across = () => printing ? PAPER : box.clientWidth;

function layout() {
  const narrow = across() < 560;
  const size = narrow ? 11 : 13;
  const margin = { l: narrow ? 30 : 36, r: narrow ? 18 : 58, b: 44 };
  const { found, count } = names(across() - margin.l - margin.r, margin.l, size);
  margin.t = 10 + count * (size + 6);
  const height = (narrow ? 280 : 400) + margin.t;
  const range = box._zoom ?? [story.start, story.end];
  const tall = height - margin.t - margin.b;
  const top = Math.max(...drawn.flatMap((each) => each.y)) * 1.06;
  const notes = [], shapes = [];
  for (const { each, line, turned } of found) {
    const y = -line * (size + 6);
    shapes.push({ name: "period", type: "rect", yref: "paper", y0: 0, y1: 1, x0: each.since,
      x1: each.until ? Date.parse(each.until) + DAY : story.end, line: { width: 0 }, layer: "below",
      visible: Boolean(each.until) });
    shapes.push({ name: "begin", type: "line", yref: "paper", y0: 0, y1: 1, x0: each.since, x1: each.since,
      line: { width: 1.2 }, layer: "below" });
    notes.push({ name: "incident", text: each.name, x: each.since, y: 1, yref: "paper", yshift: 2 - y, yanchor: "bottom",
      xanchor: turned ? "right" : "left", xshift: turned ? 3 : -3, showarrow: false, font: { size } });
  }
  // Levels at the end of their lines, moved apart where lines meet.
  const last = Math.min(Math.floor((new Date(range[1]) - start) / DAY), Math.round((end - start) / DAY));
  const value = (level) => facts.levels[level].error_7_days.slice(0, last + 1).findLast((each) => each != null);
  const ends = numbers.filter((level) => value(level) != null).map((level) => ({ level, px: value(level) / top * tall })).sort((a, b) => a.px - b.px);
  const gap = size + 3;
  ends.forEach((each, at) => { if (at) each.px = Math.max(each.px, ends[at - 1].px + gap); });
  const over = ends.length ? Math.max(0, ends.at(-1).px - tall) : 0;
  for (let at = ends.length - 1, roof = Infinity; at >= 0; at -= 1) {
    if (over) ends[at].px = Math.min(ends[at].px, roof - gap, tall);
    roof = ends[at].px;
  }
  for (const each of ends) {
    notes.push({ name: `level${each.level}`, text: narrow ? each.level : `Level ${each.level}`, x: 1, xref: "paper",
      xanchor: "left", xshift: 6, y: 0, yref: "paper", yshift: each.px, yanchor: "middle", showarrow: false, font: { size } });
  }
  return {
    width: across(), height, margin, showlegend: false, hovermode: "closest", annotations: notes, shapes,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family, size },
    dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
    xaxis: { type: "date", range, showgrid: false, ticks: "outside", ticklen: 5, nticks: narrow ? 5 : 12, ...months(range, across() - margin.l - margin.r),
      tickformatstops: [{ dtickrange: [null, 1814400000], value: "%-d %b\n%Y" }, { dtickrange: ["M1", null], value: "%b\n%Y" }], fixedrange: !matchMedia("(pointer: fine)").matches },
    yaxis: { range: [0, top], fixedrange: true, zeroline: true, nticks: narrow ? 5 : 8 },
    hoverlabel: { font: { family, size: 13 }, align: "left" },
  };
}

// Months where they fit, in thirds, quarters or halves of a year where not; days where they are few.
function months(range, width) {
  const days = (new Date(range[1]) - new Date(range[0])) / DAY;
  if (days < 120) return {};
  const step = [1, 2, 3, 4, 6, 12].find((each) => days / 30.4 / each * 42 <= width) ?? 12;
  return { dtick: `M${step}`, tick0: "2011-01-01" };
}

function draw() {
  const plan = layout();
  const narrow = across() < 560;
  const many = drawn.some((each) => each.mode === "markers" && each.x.length > across() / 40);
  const size = narrow ? 5 : many ? 6 : 8;
  const traces = drawn.map((each) => ({
    ...each,
    ...(each.line && { line: { ...each.line, width: each.line.width * (narrow ? .7 : many ? .8 : 1) } }),
    ...(each.marker && { marker: { ...each.marker, size, line: { width: size / 5 } } }),
    ...(hidden.has(each.uid) && { hoverinfo: "skip", hovertemplate: undefined }),
  }));
  Plotly.react(box, traces, plan, { displayModeBar: false, responsive: false, showTips: false });
}

// What the style sheet colours by; and a size that can shrink, for print.
function stamp() {
  for (const each of $$(".annotation", box)) each.dataset.for = box.layout.annotations[each.dataset.index].name;
  for (const each of $$(".shapelayer path", box)) each.dataset.for = box.layout.shapes[each.dataset.index].name;
  for (const each of $$(".main-svg", box)) each.setAttribute("viewBox", `0 0 ${each.getAttribute("width")} ${each.getAttribute("height")}`);
  $(".svg-container", box).style.aspectRatio = `${box.layout.width} / ${box.layout.height}`;
}

if (window.Plotly) {
  draw();
  stamp();
  box.on("plotly_afterplot", stamp);
  box.on("plotly_relayout", (change) => {
    if (change["xaxis.range[0]"]) {
      box._zoom = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      draw();
    }
    if (change["xaxis.autorange"]) { box._zoom = undefined; draw(); }
  });
  let was = box.clientWidth;
  new ResizeObserver(() => {
    if (box.clientWidth === was || matchMedia("print").matches) return;
    was = box.clientWidth;
    requestAnimationFrame(draw);
  }).observe(box);
}

for (const chip of $$(".chip")) {
  const level = chip.dataset.level;
  const only = (on) => () => { if (on && chip.ariaPressed === "true") box.dataset.only = level; else delete box.dataset.only; };
  chip.addEventListener("pointerenter", only(true));
  chip.addEventListener("focus", only(true));
  chip.addEventListener("pointerleave", only(false));
  chip.addEventListener("blur", only(false));
  chip.addEventListener("click", () => {
    const on = chip.ariaPressed !== "true";
    chip.ariaPressed = String(on);
    const uid = level === "daily" ? level : `level${level}`;
    if (on) hidden.delete(uid); else hidden.add(uid);
    box.dataset.off = $$(".chip[aria-pressed=false]").map((each) => each.dataset.level).join(" ");
    only(on)();
    if (window.Plotly) draw();
  });
}

// The day below the pointer, read from the numbers of the comparison.
function point(event) {
  const plane = $$(".draglayer .nsewdrag", box).find((each) => each.getClientRects().length);
  if (!plane) return;
  const { left, width } = plane.getBoundingClientRect();
  const [from, to] = (box._zoom ?? [start, end]).map((each) => new Date(each).getTime());
  const at = Math.round((from + (event.clientX - left) / width * (to - from) - start) / DAY);
  const there = at >= 0 && at <= Math.round((end - start) / DAY) && event.clientX >= left - 4;
  $(".when").textContent = there
    ? `Seven days to ${new Date(start + at * DAY).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" })}` : "Hover over a day to see its numbers.";
  for (const chip of $$(".chip")) {
    const of = chip.dataset.level === "daily" ? facts.retrained_daily : facts.levels[chip.dataset.level];
    const value = there ? of.error_7_days[at] : null;
    $("output", chip).textContent = value == null ? "" : value.toFixed(1);
  }
}
box.addEventListener("pointermove", point);
box.addEventListener("pointerdown", point);
box.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") point({ clientX: -1e6 }); });

// ---- code: unpacked when it is first shown
let packed;
function book() {
  return packed ??= (async () => {
    const bytes = Uint8Array.from(atob($("#packed").textContent.trim()), (each) => each.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  })();
}

function make(tag, text, kind) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function excerpt(each) {
  const found = make("figure", "", "excerpt");
  found.append(make("figcaption", `${each.path}:${each.line}`));
  const code = make("div");
  code.innerHTML = each.html;  // made by Pygments when the page was, nothing of a reader's
  for (const pre of $$("pre", code)) { pre.tabIndex = 0; pre.setAttribute("aria-label", each.path); }
  found.append(...code.childNodes);
  return found;
}

const dialog = $("#shown");
addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-row]");
  if (!button) return;
  const { rows, excerpts } = await book();
  const row = rows[button.dataset.row];
  $("#shown-over").textContent = `Level ${row.level} · ${button.dataset.row}${row.absent ? " · a lack" : ""}`;
  $("#shown-title").textContent = row.says;
  const proof = excerpts[row.proof];
  $(".inside", dialog).replaceChildren(
    make("h3", row.absent ? "Where it shows" : "The code"), ...row.code.map((each) => excerpt(excerpts[each])),
    make("h3", row.absent ? "The test that shows what goes wrong" : "The test that proves it"), excerpt(proof));
  dialog.showModal();
  $(".inside", dialog).scrollTop = 0;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest(".close")) dialog.close();
});

// ---- side by side
const sides = $$(".side");
async function compare(changed) {
  const chosen = $(".choose [aria-pressed=true]").dataset.practice;
  const { practices, excerpts } = await book();
  const practice = practices.find((each) => each.id === chosen);
  if (changed === "practice") {
    const there = Object.keys(practice.levels).filter((each) => practice.levels[each].code.length);
    const all = $$("option", sides[0]).map((each) => each.value);
    // Neighbours between which it appears or changes first.
    const second = there.find((each) => all.indexOf(each) > 0) ?? all[1] ?? all[0];
    $("select", sides[1]).value = second;
    $("select", sides[0]).value = all[Math.max(0, all.indexOf(second) - 1)];
  }
  for (const side of sides) {
    const at = practice.levels[$("select", side).value];
    const code = (at?.code ?? []).map((each) => excerpt(excerpts[each]));
    $(".inside", side).replaceChildren(make("p", at?.says || (code.length ? "" : "Nothing of it at this level.")), ...code);
  }
}
if (sides.length) {
  for (const button of $$(".choose button")) {
    button.addEventListener("click", () => {
      for (const each of $$(".choose button")) each.ariaPressed = String(each === button);
      for (const each of $$("[data-of]")) each.hidden = each.dataset.of !== button.dataset.practice;
      compare("practice");
    });
  }
  for (const side of sides) $("select", side).addEventListener("change", () => compare("level"));
  compare("practice");
}

// ---- on paper everything is open
const opened = [];
addEventListener("beforeprint", () => {
  printing = true;
  if (window.Plotly) { draw(); stamp(); }
  for (const each of $$("details:not([open], .more)")) { each.open = true; opened.push(each); }
});
addEventListener("afterprint", () => {
  printing = false;
  if (window.Plotly) draw();
  for (const each of opened.splice(0)) each.open = false;
});
