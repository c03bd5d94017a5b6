// Polls /status and draws it. What did not change is left alone, so that selections and scroll positions stay.

const DAY = 86400; // seconds
const $ = id => document.getElementById(id);
const samples = [], polls = {}, charts = {}, drawn = {}; // polls: the traffic at the last poll, by service; drawn: markup or data last drawn, by element id
let status, range = 90;

// Everything from outside is escaped here; the content security policy forbids inline scripts.
class Markup extends String {}
const escaped = value => value instanceof Markup ? value : Array.isArray(value) ? value.map(escaped).join("")
  : value == null || value === false ? "" : String(value).replace(/[&<>"']/g, each => `&#${each.charCodeAt()};`);
/** Markup of a template: values are escaped unless they are markup, lists joined; null and false are nothing. */
const html = (parts, ...values) => new Markup(String.raw({ raw: parts }, ...values.map(escaped)));
const table = (head, rows) => html`<table>${head.map(each => html`<th>${each}</th>`)}
  ${rows.map(row => html`<tr>${row.map(each => html`<td>${each}</td>`)}</tr>`)}</table>`;

function show(id, ...content) {
  const text = escaped(content);
  if (drawn[id] !== text) $(id).innerHTML = text;
  drawn[id] = text;
}

// Times without a zone are feed time: shown as they are, by calling them UTC.
const seconds = text => Date.parse(/T[\d:.]+$/.test(text) ? `${text}Z` : text) / 1000;
const midnight = text => Math.floor(seconds(text) / DAY) * DAY;
const dateOf = (at, dateStyle = "medium") => new Date(1000 * at).toLocaleDateString("en-GB", { dateStyle, timeZone: "UTC" });
const day = text => dateOf(seconds(text));
const clock = at => new Date(1000 * at).toLocaleTimeString("en-GB");
const moment = at => new Date(1000 * at).toDateString() === new Date().toDateString() ? clock(at)
  : new Date(1000 * at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const number = (value, digits = 0) => value?.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) ?? "–";
const percent = share => `${number(100 * share)}%`;
const duration = value => value == null ? "–" : `${(1000 * value).toLocaleString("en", { maximumSignificantDigits: 2 })} ms`;

const SIGNS = { good: "✓", busy: "↻", warn: "!", bad: "✖", none: "…" };
const TONES = { "data-quality": "warn", "input-drift": "none", "error-drift": "drift", age: "busy", "bad-release": "bad", "no-model": "bad", loop: "bad" };

function drawHeader({ title, environment, as_of, last_cycle_at, links, headline, errors }) {
  document.title = `${headline.title} · ${title}`;
  show("header", html`<strong>${title}, ${environment}</strong><span>${as_of && dateOf(seconds(as_of), "full")}</span>
    <span class="soft">${last_cycle_at && `monitored at ${moment(seconds(last_cycle_at))} (local)`}</span>
    <nav>${Object.entries({ ...links, API: "docs" }).map(([name, href]) => html`<a href="${href}">${name}</a>`)}</nav>`);
  $("headline").className = `card ${headline.state}`;
  show("headline", html`<div class="sign" aria-hidden="true">${SIGNS[headline.state]}</div>
    <div><h1>${headline.title}</h1><p>${headline.reason}</p>
    ${errors.filter(each => each !== headline.reason).map(each => html`<p class="bad tone">${each}</p>`)}
    <ul>${headline.responses.map(each => html`<li>${each}</li>`)}</ul></div>`);
}

function drawTiles({ models: [live, other], live_since, days, reference_error, error_unit, error_decimals, trainings, budget, workers }) {
  const tile = (name, value, unit, ...lines) => html`<div class="card"><span class="soft">${name}</span>
    <b>${value} <small>${unit}</small></b>${lines.filter(Boolean).map(each => html`<p class="note">${each}</p>`)}</div>`;
  const now = samples.at(-1), errors = ["failed", "rejected"].filter(name => now?.[name]).map(name => `${number(now[name], 1)} ${name}/s`);
  const { recent_error, skill } = days.findLast(each => each.recent_error !== null) ?? {};
  show("tiles",
    tile("Champion", live ? `v${live.version}` : "–", "", live_since && `since ${day(live_since)}`,
      other && `${other.role} v${other.version}, shown for ${percent(other.share)} of requests`),
    tile("Error, 14 days", number(recent_error, error_decimals), recent_error === undefined ? "" : error_unit,
      skill != null && html`<span class="tone ${skill > 0 ? "good" : "bad"}">${percent(Math.abs(skill))}
        ${skill > 0 ? "better" : "worse"} than the baseline</span>`,
      reference_error !== null && `reference error (holdout, at training): ${number(reference_error, error_decimals)}`),
    tile("Trainings", trainings.filter(each => !each.detail.no_training).length, "",
      budget.limit && `${Math.max(0, budget.limit - budget.spent)} of ${budget.limit} left (${budget.days}-day budget)`, budget.message),
    tile("Service", now ? duration(now.p95) : "–", now?.p95 == null ? "" : "p95",
      now ? `${number(now.rate, 1)} requests/s, ${errors.join(", ") || "none failed"}` : "measuring",
      `workers: ${workers.map(each => each.version ? `v${each.version}` : "no model").join(", ") || "none"}`));
}

/** Releases, trainings and alerts as [time, tone, title, {label: text}], newest first. */
function events({ releases, trainings, alerts, undelivered }) {
  const numbers = evidence => Object.entries(evidence ?? {}).filter(each => typeof each[1] === "number")
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ");
  return [
    ...releases.map(each => each.rolled_back === null ? [each.at, "good", `Version ${each.version} is live`, {}]
      : [each.at, "bad", `Version ${each.rolled_back} is rolled back, version ${each.version} is live again`, {}]),
    ...trainings.map(({ at, reason, version, detail, state }) => [at, "busy", `Training: ${reason}`,
      { Version: version, Result: detail.result ?? state }]),
    ...alerts.map(({ id, key, at, title, body }) => [at, key.startsWith("resolved:") ? "good" : "warn", title, {
      "Not delivered": undelivered.filter(each => each.id === id).map(each => `${each.channel}: ${each.reason}`).join("; "),
      Summary: body.summary, Evidence: numbers(body.evidence),
      Response: body.response, Suggestion: body.suggestion,
    }]),
  ].sort((one, other) => seconds(other[0]) - seconds(one[0])).slice(0, 100);
}

function drawEvents({ signals, as_of, ...others }) {
  show("signals", signals.map(each => html`<div class="signal ${TONES[each.kind]}">
    <b class="tone">${each.kind}: ${each.subject}</b> <span class="soft">since ${day(each.first_at)}</span><p>${each.message}</p></div>`));
  const rows = events(others).map(([at, tone, title, details], place) => {
    const lines = Object.entries(details).filter(each => each[1]).map(([label, text]) => html`<p class="note">${label}: ${text}</p>`);
    const isNew = place === 0 && seconds(as_of) - seconds(at) < 7 * DAY;
    return html`<li class="${tone}"><time class="note">${day(at)}</time>${!lines.length ? html`<span class="tone">${title}</span>`
      : html`<details ${isNew && "open"}><summary class="tone">${title}</summary>${lines}</details>`}</li>`;
  });
  show("events", rows.length ? html`<ul>${rows}</ul>` : html`<p class="soft">No events yet.</p>`);
}

function drawQuality({ fields, days, signals, as_of }) {
  if (!as_of) return show("quality", html`<p class="soft">No monitoring cycle yet.</p>`);
  const quality = new Map(days.map(each => [seconds(each.day), each.quality]));
  const dates = Array.from({ length: 28 }, (_, place) => midnight(as_of) - (28 - place) * DAY);
  show("quality", table([], fields.map(name => {
    const isBad = signals.some(each => each.kind === "data-quality" && each.subject === name);
    const cells = dates.map(at => {
      const found = Object.entries(quality.get(at)?.[name] ?? {}).map(([rule, rows]) => `${rule} (${rows} rows)`).join(", ");
      const [state, text] = found ? ["violated", found] : quality.has(at) ? ["valid", "no violation"] : ["unknown", "no requests"];
      return html`<i class="${state}" title="${dateOf(at)}: ${text}"></i>`;
    });
    return [html`<span class="${isBad && "warn tone"}">${name}</span>`, html`<div class="strip">${cells}</div>`];
  })));
}

function drawDrift({ drift }) {
  if (!drift) return show("drift", html`<p class="soft">No drift report yet.</p>`);
  const rows = Object.entries(drift.distances).sort((one, other) => other[1] - one[1]);
  show("drift", html`<p class="note">Week until ${day(drift.current[1])}, compared with ${day(drift.reference[0])} to ${day(drift.reference[1])}</p>`,
    table(["", "", "distance (SD or Jensen-Shannon)"], rows.map(([name, distance]) => {
      const most = Math.max(1.6, rows[0][1]), drifted = drift.drifted.includes(name);
      return [html`<span class="${drifted && "warn tone"}">${name}</span>`, // <meter> turns yellow where value > low and optimum < low
        html`<meter max="${most}" low="${drifted ? most / 1000 : most}" optimum="0" value="${distance}"></meter>`, number(distance, 2)];
    })));
}

function drawRequests({ traffic: { rows, requests, rejected, failed, buckets, instance } }) {
  if (!requests) return show("requests", html`<p class="soft">No requests since the service started.</p>`);
  show("requests", html`<p class="note">Since the service started on ${instance.split(":")[0]}: ${number(requests)} requests, ${number(rejected)} rejected (4xx),
    ${number(failed)} failed (5xx); p50 ${duration(quantile(.5, buckets))}, p95 ${duration(quantile(.95, buckets))}.</p>`,
  table(["version", "predictions"], Object.entries(rows).map(([version, count]) => [`v${version}`, number(count)])));
}

/** The number of seconds within which this share of the requests was answered, interpolated linearly as in Prometheus. */
function quantile(share, buckets) {
  const wanted = share * (buckets.at(-1)?.[1] ?? 0), place = buckets.findIndex(each => wanted && each[1] >= wanted);
  if (place < 0) return null;
  const [low, below] = buckets[place - 1] ?? [0, 0], [bound, count] = buckets[place];
  return bound === null ? low : low + (bound - low) * (wanted - below) / (count - below);
}

/** Keeps the difference to the previous poll of the same service: a proxy may have several, each with counters of its own.
 * After a restart of the service, whose counters began again at 0, there is none. */
function sample({ generated_at, traffic }) {
  const before = polls[traffic.instance], at = seconds(generated_at);
  polls[traffic.instance] = { at, ...traffic };
  if (!before || at <= before.at || traffic.requests < before.requests) return;
  const rate = name => (traffic[name] - before[name]) / (at - before.at);
  const buckets = traffic.buckets.map(([bound, count], place) => [bound, count - (before.buckets[place]?.[1] ?? 0)]);
  samples.push({ at, rate: rate("requests"), failed: rate("failed"), rejected: rate("rejected"), p95: quantile(.95, buckets) });
  samples.splice(0, samples.length - 2000);
}

// ---- charts

const probe = document.body.appendChild(document.createElement("i"));
/** A color of the style sheet, as a canvas takes it. */
function color(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
const size = place => ({ width: place.clientWidth, height: Math.min(330, Math.max(210, place.clientWidth / 2.5)) });

/** Draws or updates a chart. `data`: x and the values of each series. Without a cursor the legend has the newest ones. */
function chart(id, data, options) {
  const text = JSON.stringify(data), known = charts[id];
  if (!known?.root.isConnected) {
    const axis = { stroke: color("soft"), grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
    const newest = plot => plot.cursor.idx ?? plot.setLegend({ idx: plot.data[1].findLastIndex(each => each !== null) });
    const given = options(), hooks = { setCursor: [newest], ready: [newest], setData: [newest] };
    const axes = given.axes.map(each => ({ ...axis, ...each }));
    $(id).replaceChildren();
    const padding = [null, 40, null, null]; // room for half of the last date
    charts[id] = new uPlot({ ...given, ...size($(id)), axes, hooks, padding }, data, $(id));
    Object.assign(charts[id].root, { role: "img", ariaLabel: given.label });
  } else if (drawn[id] !== text) known.setData(data);
  drawn[id] = text;
}

const line = (label, tone, more = {}) => ({ label, stroke: color(tone), width: 2, points: { show: plot => plot.data[0].length < 4 },
  value: (_, value) => number(value, more.digits ?? status.error_decimals), ...more });
const time = (label, text) => ({ label, value: (_, at) => at === null ? "–" : text(at) });

const incidents = (at, ...kinds) => status.incidents.filter(each => kinds.includes(each.kind) && seconds(each.since) < at + DAY
  && !(each.ended_at && seconds(each.ended_at) <= at)).map(each => each.subject);
const versions = (at, actions) => actions.filter(each => midnight(each.at) === at).map(each => each.version ? `v${each.version}` : each.state);
// The events of the day that begins at `at`: label, tone, how to find it, and whether it is a line instead of a band.
const MARKS = [
  ["bad data", "warn", at => incidents(at, "data-quality")],
  ["error drift", "drift", at => incidents(at, "error-drift")],
  ["bad release or loop failure", "bad", at => incidents(at, "bad-release", "loop")],
  ["training", "busy", at => versions(at, status.trainings), true],
  ["release", "good", at => versions(at, status.releases.filter(each => each.rolled_back === null)), true],
  ["rollback to", "bad", at => versions(at, status.releases.filter(each => each.rolled_back !== null)), true],
];
const DAYS = [1, 2, 5, 7, 10, 15, 30, 60, 90, 180, 365, 730, 1825].map(each => each * DAY); // between ticks
const releaseDays = (_, __, low, high) => [...new Set(status.releases.map(each => midnight(each.at) + DAY / 2))]
  .filter(at => at >= low && at <= high);
/** Labels of releases; where two would overlap, only the later is drawn. */
const releaseNames = (plot, times) => times.map((at, place) =>
  plot.valToPos(times[place + 1], "x") - plot.valToPos(at, "x") < 20 ? "" : versions(at - DAY / 2, status.releases).at(-1));

function drawErrors({ days, as_of, live_since, reference_error, error_name, error_unit }) {
  for (const each of $("range").children) each.ariaPressed = Number(each.value) === range;
  show("error-unit", `${error_name}, ${error_unit}`);
  const known = days.filter(each => each.error !== null), byDay = new Map(days.map(each => [seconds(each.day), each]));
  if (!known.length) return show("error-chart", html`<p class="soft">No outcome is known yet (POST /outcomes).</p>`);
  const last = Math.max(seconds(days.at(-1).day), as_of ? midnight(as_of) : 0);
  const first = Math.max(seconds(known[0].day), range ? last - range * DAY : 0);
  const dates = Array.from({ length: (last - first) / DAY + 1 }, (_, place) => first + place * DAY);
  const data = [
    dates.map(at => at + DAY / 2),
    ...["error", "recent_error", "recent_baseline"].map(name => dates.map(at => byDay.get(at)?.[name] ?? null)),
    dates.map(at => live_since && at >= midnight(live_since) ? reference_error : null),
    ...MARKS.map(([,, find]) => dates.map(at => find(at).length ? 1 : null)),
  ];
  chart("error-chart", data, () => ({
    label: `${error_name} by day`, tzDate: at => uPlot.tzDate(new Date(1000 * at), "Etc/UTC"),
    scales: {
      x: { range: (_, low, high) => [low - DAY / 2, high + DAY / 2] },
      // Scaled to the 14-day means and the reference, so that a few extreme days do not flatten the rest.
      y: { range: plot => {
        const [low, high] = ["min", "max"].map(name => 1.5 * Math[name](0, ...plot.data.slice(2, 5).flat()));
        return low === high ? [0, 1] : [low, high];
      } },
      mark: { range: [0, 1] },
    },
    axes: [{ incrs: DAYS, space: (_plot, _axis, _min, _max, width) => Math.max(75, width / 10), size: 30, values: (_, ticks) => ticks.map(at => dateOf(at)) },
      { size: 50 }, { scale: "x", side: 0, size: 22, gap: 0, grid: { show: false }, splits: releaseDays, values: releaseNames }],
    series: [time("day", at => dateOf(at)),
      line("each day", "model", { width: 1, alpha: .5 }), line("14 days", "model", { width: 3 }),
      line("baseline, 14 days", "baseline", { dash: [6, 5] }), line("reference error", "good", { dash: [2, 4] }),
      ...MARKS.map(([label, tone, find, thin]) => line(label, tone, { scale: "mark", fill: color(tone), width: 0, alpha: thin ? 1 : .2,
        paths: uPlot.paths.bars({ size: thin ? [.1, 2, 2] : [1] }),
        value: (plot, _, __, place) => place == null ? "–" : find(plot.data[0][place] - DAY / 2).join(", ") || "–" }))],
  }));
}

function drawComparisons({ comparisons, as_of }) {
  show("comparisons", comparisons.map(({ comparison: { kind, version, against, days, mode, share, began }, verdict, reason }, place) => html`<section class="card">
    <h2>${kind === "test" ? "A/B test" : "Watch"}: version ${version} against version ${against}
      <small>day ${Math.max(0, Math.floor((seconds(as_of) - seconds(began)) / DAY))} of ${days}${kind === "test"
        && (mode === "shadow" ? ", never shown" : `, shown for ${percent(share)} of requests`)}</small></h2>
    <p><b class="busy tone">${verdict}:</b> ${reason}</p><div id="comparison-${place}"></div></section>`));
  comparisons.forEach(({ comparison, days, rule }, place) => {
    if (days.every(each => each.ratio === null)) return;
    const numbers = Array.from({ length: Math.max(comparison.days, days.length) }, (_, index) => index + 1);
    const columns = ["ratio", "high", "low"].map(name => numbers.map(each => days[each - 1]?.[name] ?? null));
    chart(`comparison-${place}`, [numbers, ...columns, numbers.map(() => 1), numbers.map(() => comparison.kind === "test" ? 1 + rule.worse : null)], () => ({
      label: "Ratio of the errors by day, with its bounds",
      scales: {
        x: { time: false, range: (_, low, high) => [low - .5, high + .5] },
        // The bounds of the first days are far apart.
        y: { range: { min: { soft: .8, mode: 1, hard: 0 }, max: { soft: 1.2, mode: 1, hard: 2 } } },
      },
      axes: [{ size: 30, incrs: [1, 2, 5, 10], values: (_, ticks) => ticks.map(each => `day ${each}`) }, { size: 50 }],
      bands: [{ series: [2, 3], fill: color("band") }],
      series: [{ label: "day" }, ...[["ratio of errors", "model", { width: 3, points: { show: true } }], ["upper bound", "model", { width: 1 }],
        ["lower bound", "model", { width: 1 }], ["equal", "baseline", { width: 1 }], ["promotion limit", "bad", { width: 1, dash: [5, 4] }],
      ].map(([label, tone, more]) => line(label, tone, { ...more, digits: 2 }))],
    }));
  });
}

function drawRequestsChart() {
  if (samples.length < 2) return;
  const scale = { range: (_, low, high) => [0, Math.max(1, 1.1 * high)] };
  const latencies = samples.map(each => each.p95 === null ? null : 1000 * each.p95);
  chart("requests-chart", [...["at", "rate", "failed", "rejected"].map(name => samples.map(each => each[name])), latencies], () => ({
    label: "Requests, failures and rejections per second, and the 95th percentile of the latency", scales: { y: scale, ms: scale },
    axes: [{ space: 90, size: 30, values: (_, ticks) => ticks.map(clock) }, { size: 50 },
      { scale: "ms", side: 1, size: 60, grid: { show: false }, values: (_, ticks) => ticks.map(each => `${each} ms`) }],
    series: [time("time", clock), line("requests/s", "model", { digits: 1, fill: color("band") }), line("failed/s", "bad", { digits: 1 }),
      line("rejected/s", "warn", { digits: 1 }), line("p95, ms", "baseline", { digits: 1, scale: "ms" })],
  }));
}

function draw() {
  for (const each of [drawHeader, drawTiles, drawEvents, drawQuality, drawDrift, drawRequests, drawErrors, drawComparisons, drawRequestsChart])
    each(status);
}

async function poll() {
  let problem = "The service does not respond";
  try {
    const reply = await fetch("status", { cache: "no-store" });
    if ([401, 403].includes(reply.status)) problem = "The key is no longer accepted; reload the page";
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    status = await reply.json();
    problem = "The service and this page do not fit together; reload the page";
    sample(status);
    draw();
    $("stale").hidden = true;
  } catch (error) {
    show("stale", `${problem} (${error.message}).`, status && ` Last known state from ${moment(seconds(status.generated_at))}.`);
    $("stale").hidden = false;
  }
  // Every second until two polls give a first rate.
  setTimeout(poll, 1000 * (samples.length ? status.refresh_seconds : 1));
}

new ResizeObserver(() => Object.entries(charts).forEach(([id, plot]) => plot.root.isConnected && plot.setSize(size($(id))))).observe(document.body);
$("range").addEventListener("click", ({ target }) => { range = Number(target.value || range); drawErrors(status); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const each of Object.values(charts)) each.destroy();
  if (status) draw();
});
poll();
