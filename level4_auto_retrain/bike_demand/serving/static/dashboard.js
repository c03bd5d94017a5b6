// Polls /status and draws it. Sections are redrawn only when their data changed, so that selections and scroll positions stay.

const DAY = 86400; // seconds
const HISTORY = 2000; // samples of the traffic, kept while the page is open
const $ = id => document.getElementById(id);
const narrow = matchMedia("(max-width: 40rem)"), dark = matchMedia("(prefers-color-scheme: dark)");
let status, range = 90, errorTop = 1;
const samples = [];

// ---- text

// Times without a zone are in the time of the feed: drawn as they are, by calling them UTC.
const seconds = text => Date.parse(/Z|[+-]\d\d:\d\d$/.test(text) || text.length === 10 ? text : `${text}Z`) / 1000;
const day = (text, more = {}) => new Date(1000 * seconds(text)).toLocaleDateString("en-GB",
  { day: "numeric", month: "short", year: "numeric", timeZone: "UTC", ...more });
/** Days since 1970 in seconds as a date, with its year where that is not the year of `before`. */
const dateOf = (at, before) => {
  const text = new Date(1000 * at).toISOString(), same = before && text.startsWith(new Date(1000 * before).toISOString().slice(0, 4));
  return day(text, same ? { year: undefined } : {});
};
const fixed = (value, digits = 1) => value == null ? "–" : value.toFixed(digits);
const percent = share => `${(100 * share).toFixed(0)} %`;
const short = value => value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1);
const clock = at => new Date(1000 * at).toLocaleTimeString("en-GB");
const duration = value => value == null ? "–" : value < 1 ? `${(1000 * value).toPrecision(2)} ms` : `${value.toPrecision(2)} s`;
const ago = text => {
  const past = Math.max(0, seconds(status.generated_at) - seconds(text));
  for (const [unit, length] of [["days", DAY], ["h", 3600], ["min", 60]])
    if (past >= 2 * length) return `${Math.floor(past / length)} ${unit} ago`;
  return `${past.toFixed(0)} s ago`;
};

/** An element; its children are elements or text, never HTML. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  node.append(...children.flat().filter(each => each != null && each !== false));
  return node;
}

const drawn = {};
/** Calls `draw` with the section's element and puts what it returns there, if the data differ from last time. */
function section(id, data, draw) {
  const text = JSON.stringify(data);
  if (drawn[id] === text) return;
  drawn[id] = text;
  $(id).replaceChildren(...[draw(data, $(id))].flat().filter(each => each != null));
}

// ---- sections

const SIGNS = { good: "✓", busy: "↻", warn: "!", bad: "✖", none: "…" };

function drawHeadline({ headline, problems }, card) {
  card.className = `card ${headline.state}`;
  document.title = `${headline.title} · ${status.title}`;
  return [
    make("div", { class: "sign", "aria-hidden": "true" }, SIGNS[headline.state]),
    make("div", {}, make("h1", {}, headline.title), make("p", {}, headline.reason),
      problems.filter(each => each !== headline.reason).map(each => make("p", { class: "tone bad" }, each)),
      make("ul", {}, headline.doing.map(each => make("li", {}, each)))),
  ];
}

function drawTiles({ models, live_since, recent, improvement, reference, error_unit, trainings, budget, now, workers, requests }) {
  const tile = (name, value, unit, ...lines) => make("div", { class: "card tile" }, make("span", { class: "soft" }, name),
    make("b", {}, value, " ", make("small", {}, unit)), lines.filter(Boolean).map(each => make("p", {}, each)));
  const [live, other] = models;
  return [
    tile("Live model", live ? `v${live.version}` : "–", "",
      live_since && `since ${day(live_since)}`,
      other && `beside it ${other.role} v${other.version}, shown for ${percent(other.share)}`),
    tile("Error, 14 days", fixed(recent), error_unit,
      improvement != null && make("span", { class: `tone ${improvement > 0 ? "good" : "bad"}` },
        `${percent(Math.abs(improvement))} ${improvement > 0 ? "better" : "worse"} than the baseline`),
      reference != null && `${fixed(reference)} expected at release`, recent == null && "no outcome is known yet"),
    tile("Trainings", trainings, "",
      budget.of && `${Math.max(0, budget.of - budget.spent)} of ${budget.of} left in ${budget.days} days`, budget.says),
    tile("Service", now ? duration(now.p95) : "–", now?.p95 == null ? "" : "for 95 %",
      now ? `${short(now.rate)} requests/s, ${now.failed ? `${short(now.failed)} failed/s` : "none failed"}` : "measuring",
      `${requests.toLocaleString("en")} requests since its start; ${workers} worker${workers === 1 ? "" : "s"}`),
  ];
}

const TONES = { "data-quality": "warn", "input-drift": "none", "error-drift": "drift", age: "busy" };

function drawSignals(signals, card) {
  card.hidden = !signals.length;
  return [make("h2", {}, "Open signals"), ...signals.map(each => make("div", { class: `signal ${TONES[each.kind] ?? "bad"}` },
    make("b", { class: "tone" }, `${each.kind}: ${each.subject}`), make("span", { class: "soft" }, ` since ${day(each.first_at)}`),
    make("p", {}, each.says)))];
}

/** Releases, trainings, alerts and ended incidents as [time, tone, title, {label: text}], newest first. */
function events({ releases, trainings, alerts, incidents }) {
  const plain = value => typeof value !== "object" || value === null ? String(value)
    : Object.entries(value).map(([name, each]) => `${name.replaceAll("_", " ")} ${plain(each)}`).join(", ");
  const missing = alert => Object.entries(alert.delivered).filter(([, state]) => typeof state !== "string")
    .map(([channel, state]) => `${channel}: ${state?.reason ?? "not tried yet"}`).join("; ");
  return [
    ...releases.map(each => each.rolled_back == null ? [each.at, "good", `Version ${each.version} is live`, {}]
      : [each.at, "bad", `Version ${each.rolled_back} is rolled back, version ${each.version} is live again`, {}]),
    ...trainings.map(each => [each.at, "drift", `Training: ${each.reason}`,
      { Outcome: `${each.version ? `version ${each.version}, ` : ""}${each.detail.outcome ?? each.state}` }]),
    ...alerts.filter(each => !each.key.startsWith("over:") || missing(each)).map(each => [each.at, "warn", each.title, {
      "Not delivered": missing(each), "What happened": each.body.happened, "What was done": each.body.done,
      "What you may do": each.body.you_may }]),
    ...incidents.filter(each => each.ended_at).map(each => [each.ended_at, "good",
      `Over: ${each.kind}, ${each.subject}, ${day(each.since)} to ${day(each.ended_at)}`,
      { ...Object.fromEntries(each.done.map(one => [day(one.at), one.what])), Cost: each.cost && plain(each.cost),
        Learned: each.regression_case && `regression case ${each.regression_case}` }]),
  ].sort((one, other) => seconds(other[0]) - seconds(one[0])).slice(0, 100);
}

function drawEvents(rows) {
  if (!rows.length) return make("p", { class: "soft" }, "Nothing yet.");
  return make("ul", {}, rows.map(([at, tone, title, lines]) => make("li", { class: tone }, make("time", { datetime: at }, day(at)),
    make("div", {}, make("span", { class: "tone" }, title), make("dl", {}, Object.entries(lines).filter(each => each[1])
      .map(([label, text]) => make("div", {}, make("dt", {}, `${label}: `), make("dd", {}, text))))))));
}

function drawQuality({ fields, days, signals, incidents, fallbacks, as_of }) {
  if (!as_of) return make("p", { class: "soft" }, "Nothing was monitored yet.");
  const about = each => each.kind === "data-quality";
  const names = [...new Set([...fields, "feed", ...[...signals, ...incidents].filter(about).map(each => each.subject)])];
  const known = new Map(days.map(each => [each.day, each]));
  const dates = Array.from({ length: 28 }, (_, number) => new Date(1000 * (seconds(as_of.slice(0, 10)) - (28 - number) * DAY)).toISOString().slice(0, 10));
  const violations = (name, date) => fields.includes(name)
    ? Object.entries(known.get(date)?.quality[name] ?? {}).map(([rule, hours]) => `${rule} (${hours} h)`)
    : incidents.filter(each => about(each) && each.subject === name && each.since.slice(0, 10) <= date
      && !(each.ended_at && each.ended_at.slice(0, 10) <= date)).map(each => each.noticed_by);
  return names.map(name => {
    const signal = signals.find(each => about(each) && each.subject === name);
    const cells = dates.map(date => [date, violations(name, date)]);
    const bad = cells.filter(each => each[1].length).length;
    return make("div", { class: "field" }, make("span", { class: signal ? "tone warn" : null }, name),
      make("div", { class: "strip", role: "img", "aria-label": `${name}: violations on ${bad} of 28 days` }, cells.map(([date, found]) =>
        make("i", { class: found.length ? "violated" : fields.includes(name) && !known.has(date) ? "unknown" : null,
          title: `${day(date)}: ${found.join(", ") || (known.has(date) ? "no violation" : "no requests")}` }))),
      signal && make("p", {}, signal.says), fallbacks[name] && make("p", {}, `replaced in ${fallbacks[name]} predictions of the last day`));
  });
}

function drawDrift(drift) {
  $("drift-span").textContent = drift ? `week to ${day(drift.current[1])}, against ${day(drift.reference[0])} to ${day(drift.reference[1])}` : "";
  if (!drift) return make("p", { class: "soft" }, "Not tested yet.");
  const most = Math.max(1.6, ...Object.values(drift.distances));
  return Object.entries(drift.distances).map(([name, distance]) => make("div", { class: "field" },
    make("span", { class: drift.moved.includes(name) ? "tone warn" : null }, name),
    make("meter", { min: 0, max: most, value: distance, title: `distance ${distance.toFixed(2)}`,
      ...drift.moved.includes(name) && { low: most / 1000, optimum: 0 } })));
}

function drawTraffic({ workers, rows, requests, rejected, failed, overall }) {
  const line = (...cells) => make("tr", {}, cells.map(each => make("td", {}, each)));
  return [
    make("p", { class: "soft" }, `Since its start: ${requests.toLocaleString("en")} requests, ${rejected} rejected (4xx), ${failed} failed (5xx);`
      + ` half within ${duration(overall[0])}, 95 % within ${duration(overall[1])}.`),
    make("table", {}, Object.entries(rows).map(([version, count]) => line(`predictions by version ${version}`, count.toLocaleString("en"))),
      workers.map(each => line(`worker ${each.id}`, (each.version ? `v${each.version}` : "no model") + (each.other_version ? ` and v${each.other_version}` : "")))),
  ];
}

// ---- traffic: differences between two polls

/** Within how many seconds this share of the requests was answered; linear within a bucket, as Prometheus does. */
function quantile(share, buckets) {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let below = 0, low = 0;
  for (const [bound, count] of buckets) {
    if (count >= share * total) return bound === null ? low : low + (bound - low) * (share * total - below) / (count - below);
    [below, low] = [count, bound];
  }
  return low;
}

function sample(at, traffic) {
  const before = sample.before;
  sample.before = { at, traffic };
  if (!before || at <= before.at) return;
  const restarted = traffic.requests < before.traffic.requests; // then the counters began again at 0
  const since = (now, then) => restarted ? now : now - then;
  const buckets = traffic.buckets.map(([bound, count], place) => [bound, since(count, before.traffic.buckets[place]?.[1] ?? 0)]);
  samples.push({ at, rate: since(traffic.requests, before.traffic.requests) / (at - before.at),
    failed: since(traffic.failed, before.traffic.failed) / (at - before.at), p95: quantile(.95, buckets) });
  if (samples.length > HISTORY) samples.shift();
}

// ---- charts

const charts = {};
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Draws or updates a chart. `key`: what forces a new one, beside the colours. */
function chart(id, key, data, options) {
  const known = charts[id], place = $(id), text = JSON.stringify(data);
  key = JSON.stringify([key, dark.matches, narrow.matches]);
  if (known?.key === key && known.plot.root.isConnected) {
    if (known.text !== text) known.plot.setData(data);
    else known.plot.redraw(false);
    known.text = text;
    return;
  }
  known?.plot.destroy();
  const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const given = options();
  // Without a cursor the legend has the newest values.
  const newest = plot => plot.cursor.idx ?? plot.setLegend({ idx: plot.data[1].findLastIndex(each => each !== null) });
  const plot = new uPlot({ ...given, width: place.clientWidth, height: narrow.matches ? 220 : given.height,
    axes: given.axes.map(each => ({ ...axis, ...each })), hooks: { ...given.hooks, setCursor: [newest], ready: [newest], setData: [newest] } }, data, place);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", given.label);
  charts[id] = { key, plot, text };
}

new ResizeObserver(() => Object.entries(charts).forEach(([id, { plot }]) =>
  $(id)?.clientWidth && plot.setSize({ width: $(id).clientWidth, height: plot.height }))).observe(document.body);

const lines = (label, stroke, more = {}) => ({ label, stroke: colour(stroke), width: 2, points: { show: false }, value: (_, value) => fixed(value), ...more });
const utc = { tzDate: at => uPlot.tzDate(new Date(1000 * at), "Etc/UTC") };

/** Incidents as bands behind the lines; releases, rollbacks and trainings as vertical lines. */
function drawMarks(plot) {
  const { ctx, bbox: { left, top, width, height } } = plot, scale = devicePixelRatio;
  const x = at => plot.valToPos(at, "x", true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top - 20 * scale, width, height + 20 * scale);
  ctx.clip();
  ctx.globalAlpha = .2;
  for (const each of status.incidents) {
    ctx.fillStyle = colour({ "data-quality": "warn", "error-drift": "drift" }[each.kind] ?? "bad");
    const from = x(seconds(each.since));
    ctx.fillRect(from, top, Math.max(2, x(each.ended_at ? seconds(each.ended_at) : plot.scales.x.max) - from), height);
  }
  ctx.globalAlpha = 1;
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  let free = -Infinity;
  const mark = (at, tone, dash, label) => {
    const place = x(seconds(at)), half = ctx.measureText(label).width / 2;
    if (place < left - 1 || place > left + width + 1) return;
    ctx.strokeStyle = ctx.fillStyle = colour(tone);
    ctx.lineWidth = 1.5 * scale;
    ctx.setLineDash(dash.map(each => each * scale));
    ctx.beginPath();
    ctx.moveTo(place, label ? top : top + .9 * height);
    ctx.lineTo(place, top + height);
    ctx.stroke();
    const centre = Math.min(Math.max(place, left + half), left + width - half);
    if (label && centre - half > free) { ctx.fillText(label, centre, top - 5 * scale); free = centre + half + 4 * scale; }
  };
  for (const each of status.trainings) mark(each.at, "drift", [2, 2], "");
  for (const each of status.releases) mark(each.at, each.rolled_back == null ? "good" : "bad", each.rolled_back == null ? [] : [5, 4], `v${each.version}`);
  ctx.restore();
}

function drawErrors() {
  const known = status.days.filter(each => each.error !== null);
  for (const each of $("range").children) each.setAttribute("aria-pressed", String(Number(each.value) === range));
  $("error-key").hidden = !known.length;
  if (!known.length) return section("error-chart", null, () => make("p", { class: "soft" }, "No outcome is known yet (POST /outcomes)."));
  delete drawn["error-chart"];
  if (!charts["error-chart"]) $("error-chart").replaceChildren();
  const last = seconds(known.at(-1).day), shown = known.filter(each => !range || seconds(each.day) > last - range * DAY);
  const filled = shown.flatMap((each, place) => { // a day without a value interrupts the lines
    const next = shown[place + 1];
    return next && seconds(next.day) - seconds(each.day) > DAY ? [each, { day: new Date(1000 * (seconds(each.day) + DAY)).toISOString().slice(0, 10) }] : [each];
  });
  const reference = each => status.live_since && each.day >= status.live_since.slice(0, 10) ? status.reference_error : null;
  const data = [filled.map(each => seconds(each.day) + DAY / 2), ...["error", "recent_error", "recent_baseline"].map(name => filled.map(each => each[name] ?? null)),
    filled.map(reference)];
  const daily = data[1].filter(each => each !== null).sort((one, other) => one - other);
  // A few terrible days must not flatten all others.
  errorTop = 1.1 * Math.max(daily[Math.floor(.97 * (daily.length - 1))], ...data[2], ...data[3]);
  chart("error-chart", range, data, () => ({
    ...utc, label: `${status.error_name} of ${shown.length} days`, height: 330, padding: [20, 8, 0, 0], hooks: { drawClear: [drawMarks] },
    scales: { x: { range: (_, low, high) => [low - DAY / 2, high + DAY / 2] }, y: { range: () => [0, errorTop] } },
    axes: [{ space: 80, values: (_, ticks) => ticks.map((at, place) => dateOf(at, ticks[place - 1])) }, { size: 50 }],
    series: [{ label: "day", value: (_, at) => at === null ? "–" : dateOf(at) },
      lines("each day", "model", { width: 1, alpha: .5, points: { show: shown.length < 3 } }), lines("14 days", "model", { width: 3, points: { show: shown.length < 3 } }),
      lines("baseline, 14 days", "baseline", { dash: [6, 5] }), lines("expected at release", "good", { dash: [2, 4] })],
  }));
}

function drawComparisons() {
  section("comparisons", status.comparisons, comparisons => comparisons.map((each, place) => make("section", { class: "card" },
    make("h2", {}, each.kind === "test" ? `A/B test: version ${each.version} against version ${each.against}` : `Watch: version ${each.version} against version ${each.against}`,
      make("small", {}, `day ${Math.max(0, Math.floor((seconds(status.as_of) - seconds(each.began)) / DAY))} of ${each.length}`
        + (each.kind !== "test" ? "" : each.mode === "shadow" ? ", never shown" : `, shown for ${percent(each.share)}`))),
    make("p", {}, make("span", { class: "tone busy" }, `${each.verdict}: `), each.reason), make("div", { id: `comparison-${place}` }))));
  status.comparisons.forEach((each, place) => {
    if (!each.days.some(one => one.ratio !== null)) return;
    const count = Math.max(each.length, each.days.length), numbers = Array.from({ length: count }, (_, number) => number + 1);
    const values = name => numbers.map(number => each.days[number - 1]?.[name] ?? null), margin = each.kind === "test" ? 1 + each.worse : null;
    const ratios = values("ratio").filter(one => one !== null), seen = [...values("low"), ...values("high"), ...ratios, 1.2, .8].filter(one => one !== null);
    const low = Math.max(Math.min(...seen), .6 * Math.min(...ratios), 0), high = Math.min(Math.max(...seen), 1.6 * Math.max(...ratios, 1));
    chart(`comparison-${place}`, [each.version, each.kind, low, high], [numbers, values("high"), values("low").map((one, number) => each.days[number]?.high == null ? null : one), values("ratio"), numbers.map(() => 1), numbers.map(() => margin)], () => ({
      label: "Ratio of the errors by day, with its bounds", height: 240, scales: { x: { time: false, range: [.5, count + .5] }, y: { range: [low, high] } },
      axes: [{ incrs: [1, 2, 5, 10], values: (_, ticks) => ticks.map(tick => `day ${tick}`) }, { size: 50 }],
      bands: [{ series: [1, 2], fill: `${colour("model")}33` }],
      series: [{ label: "day" }, ...[["upper bound", "model", { width: 1 }], ["lower bound", "model", { width: 1 }], ["ratio of errors", "model", { width: 3, points: { show: true } }],
        ["equal", "baseline", { width: 1 }], ["promoted below", "bad", { width: 1, dash: [5, 4] }]].map(([label, tone, more]) =>
        lines(label, tone, { ...more, value: (_, value) => fixed(value, 2) }))],
    }));
  });
}

function drawTrafficChart() {
  if (samples.length < 2) return;
  $("traffic-span").textContent = `since this page was opened, ${clock(samples[0].at)}`;
  chart("traffic-chart", 0, [samples.map(each => each.at), ...["rate", "failed", "p95"].map(name => samples.map(each => name === "p95" && each[name] !== null ? 1000 * each[name] : each[name]))], () => ({
    label: "Requests and failures per second, and the 95th percentile of the latency", height: 220,
    scales: { y: { range: (_, low, high) => [0, Math.max(1, 1.1 * high)] }, ms: { range: (_, low, high) => [0, Math.max(1, 1.1 * high)] } },
    axes: [{ space: 90, values: (_, ticks) => ticks.map(clock) }, { size: 50 }, { scale: "ms", side: 1, size: 60, grid: { show: false }, values: (_, ticks) => ticks.map(tick => `${tick} ms`) }],
    series: [{ label: "time", value: (_, at) => at === null ? "–" : clock(at) }, lines("requests/s", "model", { fill: `${colour("model")}33` }), lines("failed/s", "bad"),
      lines("95 % within, ms", "baseline", { scale: "ms", value: (_, value) => fixed(value, 2) })],
  }));
}

// ---- all of it

function draw() {
  const { traffic, as_of, days, models, signals, incidents, workers } = status;
  $("name").textContent = `${status.title}, ${status.environment}`;
  $("as-of").textContent = as_of ? day(as_of, { weekday: "long" }) : "";
  $("checked").textContent = status.loop_checked_at ? `monitored ${ago(status.loop_checked_at)}` : "";
  $("error-unit").textContent = `${status.error_name}, ${status.error_unit}`;
  section("links", status.links, links => [...Object.entries(links), ["API", "docs"]].map(([name, href]) => make("a", { href }, name)));
  section("headline", { headline: status.headline, problems: status.problems }, drawHeadline);
  section("tiles", { models, live_since: status.live_since, recent: days.findLast(each => each.recent_error !== null)?.recent_error, improvement: status.improvement,
    reference: status.reference_error, error_unit: status.error_unit, trainings: status.trainings.filter(each => !each.detail.nothing_new).length,
    budget: status.budget, now: samples.at(-1), workers: workers.length, requests: traffic.requests }, drawTiles);
  section("signals", signals, drawSignals);
  section("events", events(status), drawEvents);
  section("quality", { fields: status.fields, days: days.slice(-40), signals, incidents, fallbacks: status.fallbacks, as_of }, drawQuality);
  section("drift", status.drift, drawDrift);
  section("traffic", { ...traffic, buckets: null, workers: workers.map(({ seen_at, ...each }) => each), overall: [.5, .95].map(share => quantile(share, traffic.buckets)) }, drawTraffic);
  drawErrors();
  drawComparisons();
  drawTrafficChart();
}

async function poll() {
  try {
    const reply = await fetch("status", { cache: "no-store" });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    status = await reply.json();
    sample(seconds(status.generated_at), status.traffic);
    draw();
    $("stale").hidden = true;
  } catch (error) {
    $("stale").textContent = `The service does not answer (${error.message}).${status ? ` This is its state of ${clock(seconds(status.generated_at))}.` : ""}`;
    $("stale").hidden = false;
  }
  setTimeout(poll, 1000 * (samples.length ? status.refresh_seconds : 1));
}

$("range").addEventListener("click", ({ target }) => { if (target.value) { range = Number(target.value); drawErrors(); } });
for (const each of [dark, narrow]) each.addEventListener("change", () => status && draw());
poll();
