// The monitor's page: shows looks as they come, asks twice before it halts, plays journals.
"use strict";
const $ = (id) => document.getElementById(id);
const number = (v, digits = 2) => v === null || v === undefined || Number.isNaN(v) ? "–"
  : Number(v).toLocaleString("en-US", {minimumFractionDigits: digits, maximumFractionDigits: digits});
const SILENCE_MS = 1500, REDRAW_MS = 1000, KEPT = 2400, OLDEST = 600;
const WORDS = {trading: "trading", quiet: "not quoting", halted: "halted", silent: "SILENT", dead: "DEAD", stopped: "stopped"};
const TONES = {trading: "good", quiet: "warn", halted: "bad", silent: "bad", dead: "bad", stopped: "warn"};
const REGIMES = ["calm", "normal", "volatile"];
let chosen = null, looks = [], histories = {}, heard = 0, drawn = 0, view = "live";

function el(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function fill(body, rows) { body.replaceChildren(...rows); }
function fact(name, value, tone) {
  const row = el("tr");
  row.append(el("th", name, {scope: "row"}), el("td", value, tone ? {class: tone} : {}));
  return row;
}
// ticks into prices by whole numbers: a decimal tick must not show as 0.30000000000000004
function price(ticks, tick) {
  const decimals = (tick.split(".")[1] || "").replace(/0+$/, "").length;
  return number(ticks * Number(tick), ticks % 1 ? decimals + 1 : decimals);
}
async function get(path) {
  const answer = await fetch(path);
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || answer.statusText);
  return answer.json();
}

// ── live ────────────────────────────────────────────────────────────────────────────────────
function connect() {
  const source = new EventSource("/api/stream");
  source.onmessage = (event) => { heard = performance.now(); take(JSON.parse(event.data)); };
}
function take(look) {
  looks = look.traders;
  for (const t of looks) remember(t);
  for (const key of Object.keys(histories)) if (!looks.some((t) => t.key === key)) delete histories[key];
  if (!looks.some((t) => t.key === chosen)) {
    // the same instrument's next trader, else the last one that came
    const before = chosen && chosen.split("@")[0];
    const next = looks.filter((t) => t.about.instrument === before).pop() || looks[looks.length - 1];
    chosen = next ? next.key : null;
  }
  if (view === "live") show();
}
function remember(t) {
  if (!histories[t.key]) {
    histories[t.key] = {points: null, fills: [], outcomes: []};
    get("/api/history?key=" + encodeURIComponent(t.key)).then((h) => { histories[t.key] = h; drawn = 0; }).catch(() => delete histories[t.key]);
    return;
  }
  const h = histories[t.key];
  if (!h.points || !t.point || h.points.ts_ms[h.points.ts_ms.length - 1] >= t.point[0]) return;
  Object.keys(h.points).forEach((name, i) => { h.points[name].push(t.point[i]); if (h.points[name].length > KEPT) h.points[name].shift(); });
  const last = h.fills.length ? h.fills[h.fills.length - 1][0] : 0;
  for (const f of t.fills) if (f[0] > last) h.fills.push(f);
  const due = h.outcomes.length ? h.outcomes[h.outcomes.length - 1][1] : 0;
  for (const o of t.outcomes) if (o[1] > due) h.outcomes.push(o);
  for (const list of [h.fills, h.outcomes]) if (list.length > OLDEST) list.splice(0, list.length - OLDEST);
}
function show() {
  const t = looks.find((one) => one.key === chosen);
  $("none").hidden = looks.length > 0;
  $("trader").hidden = !t;
  const tabs = $("traders");
  const wanted = looks.map((one) => one.key + one.status).join();
  if (tabs.dataset.drawn !== wanted + chosen) {
    tabs.dataset.drawn = wanted + chosen;
    fill(tabs, looks.map((one) => {
      const twin = looks.some((other) => other !== one && other.about.instrument === one.about.instrument);
      const tab = el("button", `${one.about.instrument} · ${one.about.mode}${twin ? ` ${one.about.pid}` : ""} · ${WORDS[one.status]}`, {"aria-pressed": one.key === chosen});
      tab.onclick = () => { chosen = one.key; drawn = 0; show(); };
      return tab;
    }));
  }
  if (!t) { document.title = "CMM monitor"; return; }
  const a = t.about, p = t.pnl, g = t.guard;
  document.title = `${a.instrument} ${WORDS[t.status]} ${number(p.total, 0)} ${a.currency}`;
  $("name").textContent = a.instrument;
  $("about").textContent = `${a.mode} · ${a.quoter} · artifact ${a.artifact_hash || "none"} · process ${a.pid} · market time ${t.ts_ms ? new Date(t.ts_ms).toISOString().replace("T", " ").slice(0, 21) : "–"}`;
  const status = $("status");
  const text = WORDS[t.status] + (t.why ? `: ${t.why}` : "");
  if (status.textContent !== text) status.textContent = text;
  status.className = "pill " + TONES[t.status];
  const dead = t.status === "dead" ? `${a.instrument}: the trader has died (no report for ${number(t.age_s, 1)} s, process ${a.pid} is gone)`
    : t.status === "silent" ? `${a.instrument}: the trader has not reported for ${number(t.age_s, 1)} s` : "";
  banner(dead);
  $("halt").disabled = ["dead", "stopped"].includes(t.status) && a.mode === "paper";
  fill($("kpis"), [
    [`PnL, ${a.currency}`, number(p.total), p.total < 0], ["spread capture", number(p.captured), p.captured < 0], ["inventory PnL", number(p.inventory), p.inventory < 0],
    ["fees", number(p.fees)], ["position, lots", number(t.position, 0)], ["fills", number(t.counts.fills || 0, 0)],
    ["mid", t.bids.length && t.asks.length ? price((t.bids[0][0] + t.asks[0][0]) / 2, a.tick) : "–"], ["confidence", t.forecast ? number(t.forecast[3]) : "–"],
    ["regime", REGIMES[t.regime] ?? t.regime], ["sigma, ticks", number(t.sigma)],
    ["decision p50, µs", number(t.latency_us.p50, 0)], ["order actions per second", number(t.actions_per_s, 1)],
  ].map(([name, value, bad]) => { const d = el("div"); d.append(el("dt", name), el("dd", value, bad ? {class: "bad"} : {})); return d; }));
  book(t);
  const names = a.students;
  fill($("students").tBodies[0], names.map((name, i) => {
    const row = el("tr"); row.append(el("th", name, {scope: "row"}));
    for (let task = 0; task < 3; task++) {
      const c = t.closeness[task] ? t.closeness[task][i] : null;
      const cell = el("td", number(c)); if (c !== null && c !== undefined) cell.style.background = `linear-gradient(to left,var(--bidbar) ${100 * c}%,transparent 0)`;
      row.append(cell);
    }
    return row;
  }));
  const bound = Object.entries(t.counts).filter(([name]) => name.startsWith("bound_"));
  const pulls = Object.entries(t.counts).filter(([name]) => name.startsWith("pulled_") || name.startsWith("model_") || name === "paused_side" || name === "rejected");
  fill($("guard").tBodies[0], [
    fact("halted", g.halted || "no", g.halted ? "bad" : "good"), fact("market data", g.problem || "sound", g.problem ? "bad" : "good"),
    fact("model", g.fault || "sound", g.fault ? "bad" : "good"),
 fact("paused", g.paused || "no"),
    fact("loss limits used", number(Math.max(100 * g.budget_used, 0), 0) + " %", g.budget_used > 0.8 ? "bad" : ""),
    fact("latch on disk", g.latch ? `${g.latch.reason}: ${g.latch.detail} (${g.latch.by})` : "none", g.latch ? "bad" : ""),
    ...bound.map(([name, n]) => fact("cut or refused: " + name.slice(6).replaceAll("_", " "), number(n, 0))),
    ...pulls.map(([name, n]) => fact(name.replaceAll("_", " "), number(n, 0))),
    ...(t.resting === null ? [] : [fact("orders resting at the venue", number(t.resting, 0), t.resting ? "bad" : "good")]),
  ]);
  const l = t.latency_us;
  fill($("work").tBodies[0], [
    fact("decision p50 / p90, µs", `${number(l.p50, 0)} / ${number(l.p90, 0)}`), fact("decision p99 / max, µs", `${number(l.p99, 0)} / ${number(l.max, 0)}`),
    fact("decisions", number(t.decisions, 0)), fact("book updates", number(t.counts.book_updates || 0, 0)), fact("trades seen", number(t.counts.trades || 0, 0)),
    fact("placed / amended / cancelled", ["place", "amend", "cancel"].map((k) => number(t.counts["action_" + k] || 0, 0)).join(" / ")),
    fact("reports lost before this page", number(t.frames_lost, 0)),
  ]);
  const drifts = Object.entries(t.drifts);
  fill($("model").tBodies[0], [
    fact("model that trades", a.artifact_hash || "none"), fact("model in the shadow", t.trial ? t.trial.shadow.hash : "none"), ...trial(t.trial),
    fact("samples with a feature out of range", `${number(t.counts.out_of_range || 0, 0)} of ${number(t.counts.range_checks || 0, 0)}`),
    ...(drifts.length ? drifts.map(([kind, text]) => fact(kind.replaceAll("_", " "), text, "bad")) : [fact("drift", "none", "good")]),
  ]);
  const alarms = JSON.stringify(t.alarms), list = $("alarms");
  if (list.dataset.drawn !== t.key + alarms) {
    list.dataset.drawn = t.key + alarms;
    fill(list, t.alarms.length ? t.alarms.slice().reverse().map((one) => el("li", `${new Date(one.ts_ns / 1e6).toISOString().slice(11, 19)} ${one.source} ${one.kind}: ${one.text}`)) : [el("li", a.state ? "none" : "a paper trader prints its alarms in its terminal")]);
  }
  const s = t.skill;
  $("skill").textContent = s.n ? `last ${s.n} forecasts, ${number(a.horizon_s, 0)} s ahead: correlation ${number(s.correlation, 3)}, bias ${number(s.bias, 2)} ticks, error ${number(s.rmse, 2)} ticks; the forecast "no change" has ${number(s.rmse_unchanged, 2)}` : "not enough outcomes are known yet";
  if (performance.now() - drawn > REDRAW_MS) { drawn = performance.now(); charts(t); }
}
function trial(found) {
  if (!found) return [];
  const m = found.mid;
  return [
    fact("shadow compared with trading model", `${found.verdict}, ${number(m.outcomes, 0)} outcomes`, ["worse", "in-sample"].includes(found.verdict) ? "bad" : ""),
    fact("error, shadow / trading, ticks", `${number(m.rmse, 3)} / ${number(m.rmse_other, 3)}`),
  ];
}
function banner(text) {
  const b = $("banner");
  if (b.textContent !== text) b.textContent = text;
  b.hidden = !text;
}
function book(t) {
  const own = {};
  for (const [side, at, left] of t.orders) own[side + ":" + at] = (own[side + ":" + at] || 0) + left;
  const rows = {};
  for (const [at, size] of t.asks) (rows[at] = rows[at] || {}).ask = size;
  for (const [at, size] of t.bids) (rows[at] = rows[at] || {}).bid = size;
  for (const [side, at] of t.orders) rows[at] = rows[at] || {};
  const most = Math.max(1, ...t.asks.map((l) => l[1]), ...t.bids.map((l) => l[1]));
  fill($("book").tBodies[0], Object.keys(rows).map(Number).sort((x, y) => y - x).map((at) => {
    const row = el("tr"), bid = rows[at].bid, ask = rows[at].ask, ours = [own["1:" + at], own["2:" + at]];
    const b = el("td", bid ?? "", {class: "bidside"}), k = el("td", ask ?? "", {class: "askside"});
    if (bid) b.style.background = `linear-gradient(to left,var(--bidbar) ${100 * bid / most}%,transparent 0)`;
    if (ask) { k.style.background = `linear-gradient(to right,var(--askbar) ${100 * ask / most}%,transparent 0)`; k.style.textAlign = "left"; }
    row.append(el("td", ours[0] ?? "", {class: ours[0] ? "bidside own" : ""}), b, el("td", price(at, t.about.tick)), k, el("td", ours[1] ?? "", {class: ours[1] ? "askside own" : ""}));
    return row;
  }));
}
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
function layout(y, more = {}) {
  const grid = {gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line")};
  return {margin: {l: 58, r: 8, t: 4, b: 40}, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: {color: colour("--text"), size: 12},
    legend: {orientation: "h", y: 1.15, x: 0}, hovermode: "x unified", xaxis: {...grid, ...more.xaxis}, yaxis: {...grid, title: {text: y}, ...more.yaxis}, uirevision: chosen};
}
function line(x, y, name, hue, dash) { return {x, y, name, mode: "lines", line: {color: colour(hue), width: 1.5, shape: "hv", dash}}; }
const OPTIONS = {displayModeBar: false, responsive: true};
function charts(t) {
  const h = histories[t.key];
  if (!window.Plotly || !h || !h.points || !h.points.ts_ms.length) return;
  const p = h.points, tick = Number(t.about.tick), from = p.ts_ms[0], x = p.ts_ms.map((ms) => new Date(ms));
  const scaled = (column) => column.map((v) => v === null ? null : v * tick);
  const mine = (side) => h.fills.filter((f) => f[1] === side && f[0] / 1e6 >= from);
  const dots = (side, name, hue, symbol) => ({x: mine(side).map((f) => new Date(f[0] / 1e6)), y: mine(side).map((f) => f[2] * tick), name, mode: "markers", marker: {color: colour(hue), symbol, size: 8}});
  Plotly.react("c-price", [line(x, scaled(p.mid), "mid", "--dim"), line(x, scaled(p.bid), "our bid", "--bid", "dot"), line(x, scaled(p.ask), "our ask", "--ask", "dot"), dots(1, "bought", "--bid", "triangle-up"), dots(2, "sold", "--ask", "triangle-down")], layout("", {yaxis: {tickformat: ","}}), OPTIONS);
  Plotly.react("c-pnl", [line(x, p.total, "total", "--accent"), line(x, p.captured, "spread capture", "--bid"), line(x, p.inventory, "inventory PnL", "--warn"), line(x, p.fees.map((v) => -v), "fees", "--ask")], layout(t.about.currency), OPTIONS);
  const limit = t.about.max_position_lots;
  Plotly.react("c-inv", [line(x, p.position, "lots", "--accent")], {...layout("lots"), showlegend: false, shapes: [limit, -limit].map((y) => ({type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: {color: colour("--bad"), dash: "dot", width: 1}}))}, OPTIONS);
  const o = h.outcomes, ends = o.length ? [Math.min(...o.map((r) => r[3])), Math.max(...o.map((r) => r[3]))] : [0, 0];
  Plotly.react("c-skill", [{x: o.map((r) => r[3]), y: o.map((r) => r[4]), mode: "markers", name: "forecasts", marker: {color: colour("--accent"), size: 5, opacity: 0.6}}, {x: ends, y: ends, mode: "lines", name: "equal", line: {color: colour("--dim"), dash: "dot"}}],
    {...layout("actual, ticks", {xaxis: {title: {text: "forecast, ticks"}}}), hovermode: "closest", showlegend: false}, OPTIONS);
}
setInterval(() => {
  const lost = performance.now() - heard > SILENCE_MS, link = $("link");
  const text = lost ? "monitor not reached" : "connected";
  if (link.textContent !== text) link.textContent = text;
  link.className = "pill " + (lost ? "bad" : "good");
  if (lost && heard) banner("No connection to the monitor: this page shows old data. Halt with `cmm halt`.");
}, 300);

// ── halt ────────────────────────────────────────────────────────────────────────────────────
let asking = null, armed = false;
$("halt").onclick = () => {
  asking = looks.find((t) => t.key === chosen); armed = false;
  $("ask-title").textContent = `Halt ${asking.about.instrument}?`;
  $("ask-text").textContent = asking.about.mode === "live" ? "All orders are cancelled, the trader stops, and it cannot be started again before `cmm halt --clear --reason …`." : "All orders are cancelled, and this paper run quotes no more.";
  $("ask-yes").textContent = "Halt"; $("ask-yes").disabled = false; $("ask-yes").hidden = false; $("ask-no").textContent = "Keep trading"; $("ask-result").textContent = "";
  $("ask").showModal();
};
$("ask-yes").onclick = async () => {
  if (!armed) { armed = true; $("ask-yes").textContent = `Yes, halt ${asking.about.instrument} now`; return; }
  $("ask-yes").disabled = true; $("ask-result").textContent = "Halting…";
  try {
    const answer = await fetch("/api/halt", {method: "POST", headers: {"Content-Type": "application/json", "X-CMM-Page": document.querySelector("meta[name=page-key]").content},
      body: JSON.stringify({key: asking.key, confirm: asking.about.instrument, reason: $("ask-reason").value || "from the monitor"})});
    const done = await answer.json();
    if (!answer.ok) throw new Error(done.error);
    $("ask-result").textContent = done.resting === null ? `UNKNOWN whether orders still rest (${done.by})` : `${done.resting} orders rest (${done.by}), position ${done.position ?? "unknown"} lots, after ${number(done.took_s, 1)} s.`;
    $("ask-result").className = done.resting === 0 ? "good" : "bad";
    $("ask-yes").hidden = true; $("ask-no").textContent = "Close";
  } catch (error) { $("ask-result").textContent = `Not halted: ${error.message}. Use \`cmm halt\`.`; $("ask-result").className = "bad"; $("ask-yes").disabled = false; }
};

// ── journal ─────────────────────────────────────────────────────────────────────────────────
const J = {id: null, at: 0, total: 0, about: null, rows: [], first: 0, playing: false, timer: null};
const PAGE = 1000, ACTIONS = ["place", "amend", "cancel"], SIDES = ["", "bid", "ask"];
async function journals(wanted) {
  const list = await get("/api/journals"), select = $("j-list");
  fill(select, list.map((j) => el("option", `${j.folder.startsWith(".") ? "running: " : ""}${j.folder.replace(/^\.|\.tmp$/g, "")}/${j.name} (${number(j.bytes / 1e6, 1)} MB)`, {value: j.id})));
  if (wanted) select.value = wanted;
  $("j-about").textContent = list.length ? "" : "There are no journals yet.";
  if (list.length) open(select.value, 0);
}
async function open(id, at) { J.id = id; J.rows = []; J.first = 0; stop(); await seek(at); }
async function load(query) {
  try {
    const page = await get(`/api/journal?id=${J.id}&count=${PAGE}&${query}`);
    Object.assign(J, {about: page.about, total: page.total});
    if (!page.lines.length) { $("j-about").textContent = "There is no decision at this place."; return false; }
    Object.assign(J, {rows: page.lines, first: page.lines[0].i});
    return true;
  } catch (error) { $("j-about").textContent = error.message; stop(); return false; }
}
async function seek(at) {
  if (!J.id) return;
  at = Math.max(0, at);
  const there = at >= J.first && at < J.first + J.rows.length;
  if (!there && !await load(`start=${Math.max(0, at - 100)}`)) return;
  J.at = Math.min(at, Math.max(J.total - 1, 0));
  decision();
}
// a time of the day that is shown, as UTC: the first decision at or after it
async function seekTime(text) {
  const now = J.rows[J.at - J.first];
  if (!now || !text) return;
  const ms = Date.parse(`${new Date(now.ts_ms).toISOString().slice(0, 10)}T${text}Z`);
  if (await load(`at_ms=${ms}`)) await seek(J.first);
}
async function nextAction() {
  for (let at = J.at + 1; at < J.total; at = J.first + J.rows.length) {
    if (!(at >= J.first && at < J.first + J.rows.length) && !await load(`start=${at}`)) return;
    const found = J.rows.find((r) => r.i >= at && r.actions.length);
    if (found) { await seek(found.i); return; }
  }
}
function decision() {
  const d = J.rows[J.at - J.first];
  $("j-seek").max = Math.max(J.total - 1, 0); $("j-seek").value = J.at; $("j-at").value = J.at; $("j-at").max = Math.max(J.total - 1, 0);
  $("j-about").textContent = `${J.about.instrument} · ${J.about.quoter} · artifact ${J.about.artifact_hash || "none"} · ${number(J.total, 0)} decisions; prices in ticks, sizes in lots`;
  if (!d) return;
  const [bid, ask, sigma, horizon, trend, regime] = d.market, f = d.forecast;
  $("j-title").textContent = `Decision ${number(d.i, 0)} at ${new Date(d.ts_ms).toISOString().replace("T", " ").slice(0, 23)}`;
  fill($("j-facts").tBodies[0], [
    fact("best bid / ask", `${bid} / ${ask}`), fact("sigma over the horizon", number(sigma)), fact("trend", number(trend)), fact("regime", REGIMES[regime] ?? regime),
    fact("forecast mid change", f ? number(f[0], 3) : "–"), fact("forecast spread", f ? number(f[1]) : "–"), fact("forecast log volume", f ? number(f[2]) : "–"), fact("confidence", f ? number(f[3], 3) : "–"),
    fact("position", number(d.position, 0)), fact("problem with the model", d.fault || "none", d.fault ? "bad" : ""), fact("paused", [d.paused[0] && "bids", d.paused[1] && "asks"].filter(Boolean).join(", ") || "no"),
  ]);
  const rows = {};
  const put = (side, at, what, lots) => { const r = rows[side + ":" + at] = rows[side + ":" + at] || {side, at}; r[what] = (r[what] || 0) + lots; };
  d.ladder[0].forEach(([at, lots]) => put(1, at, "wanted", lots)); d.ladder[1].forEach(([at, lots]) => put(2, at, "wanted", lots));
  d.bids.forEach(([at, lots]) => put(1, at, "stood", lots)); d.asks.forEach(([at, lots]) => put(2, at, "stood", lots));
  put(1, bid, "touch", 0); put(2, ask, "touch", 0);
  fill($("j-book").tBodies[0], Object.values(rows).sort((x, y) => y.at - x.at || y.side - x.side).map((r) => {
    const row = el("tr", undefined, {class: r.side === 1 ? "bidside" : "askside"});
    row.append(el("td", SIDES[r.side] + ("touch" in r ? " · touch" : "")), el("td", r.at), el("td", r.wanted ?? ""), el("td", r.stood ?? ""));
    return row;
  }));
  fill($("j-actions"), [...d.actions.map(([kind, side, at, lots]) => el("li", `${ACTIONS[kind]} ${SIDES[side]} ${kind === 2 ? `at ${at}` : `${lots} at ${at}`}`)),
    ...Object.entries(d.bound).map(([name, n]) => el("li", `cut or refused by limit: ${name.replaceAll("_", " ")} × ${n}`, {class: "warn"})), ...(d.actions.length ? [] : [el("li", "none: the wanted orders already rest")])]);
  const near = J.rows.slice(Math.max(0, J.at - J.first - 150), J.at - J.first + 150), x = near.map((r) => new Date(r.ts_ms));
  if (window.Plotly) Plotly.react("c-journal", [line(x, near.map((r) => (r.market[0] + r.market[1]) / 2), "mid", "--dim"), line(x, near.map((r) => r.ladder[0].length ? r.ladder[0][0][0] : null), "wanted bid", "--bid", "dot"), line(x, near.map((r) => r.ladder[1].length ? r.ladder[1][0][0] : null), "wanted ask", "--ask", "dot")],
    {...layout("ticks", {yaxis: {tickformat: ","}}), uirevision: null, shapes: [{type: "line", x0: new Date(d.ts_ms), x1: new Date(d.ts_ms), yref: "paper", y0: 0, y1: 1, line: {color: colour("--accent"), width: 1}}]}, OPTIONS);
}
function stop() { clearTimeout(J.timer); J.playing = false; $("j-play").textContent = "Play"; }
// at high speed one drawing covers many decisions: time passes as asked, not each is drawn
async function play() {
  const speed = Number($("j-speed").value), now = J.rows[J.at - J.first];
  if (!now || J.at >= J.total - 1) return stop();
  const until = now.ts_ms + 60 * speed;
  let next = J.at + 1;
  while (next - J.first < J.rows.length - 1 && J.rows[next - J.first].ts_ms <= until) next++;
  const row = J.rows[next - J.first];
  const wait = row ? Math.max(60, Math.min((row.ts_ms - now.ts_ms) / speed, 5000)) : 60;
  J.timer = setTimeout(async () => { await seek(next); if (J.playing) play(); }, wait);
}
$("j-play").onclick = () => { if (J.playing) stop(); else { $("j-play").textContent = "Pause"; J.playing = true; play(); } };
$("j-step").onclick = () => { stop(); seek(J.at + 1); };
$("j-back").onclick = () => { stop(); seek(J.at - 1); };
$("j-action").onclick = () => { stop(); nextAction(); };
$("j-time").onchange = () => { stop(); seekTime($("j-time").value); };
$("j-at").onchange = () => { stop(); seek(Number($("j-at").value)); };
$("j-seek").oninput = () => { stop(); seek(Number($("j-seek").value)); };
$("j-list").onchange = () => open($("j-list").value, 0);
$("player").onsubmit = (event) => event.preventDefault();

// ── runs and views ──────────────────────────────────────────────────────────────────────────
async function runs() {
  const list = await get("/api/runs");
  fill($("r-list").tBodies[0], list.length ? list.map((r) => {
    const row = el("tr"), pages = el("td"), logs = el("td");
    for (const page of r.pages) pages.append(el("a", page.replace(".html", ""), {href: `/runs/${encodeURIComponent(r.name)}/${page}`, target: "_blank", rel: "noopener"}), " ");
    r.journals.forEach((id, i) => { const b = el("button", `play ${i + 1}`); b.onclick = () => go("journal", id); logs.append(b); });
    row.append(el("td", r.name), el("td", r.command), el("td", Object.entries(r.arguments || {}).filter(([, v]) => v !== null).map(([k, v]) => `${k} ${v}`).join(", ")), pages, logs);
    return row;
  }) : [fact("no finished runs", "")]);
}
function go(name, wanted) {
  view = name; stop();
  for (const one of ["live", "journal", "runs"]) $(one).hidden = one !== name;
  for (const b of document.querySelectorAll("nav button")) if (b.dataset.view === name) b.setAttribute("aria-current", "page"); else b.removeAttribute("aria-current");
  if (name === "live") { drawn = 0; show(); }
  const failed = (error) => banner(error.message);
  if (name === "journal") journals(wanted).catch(failed);
  if (name === "runs") runs().catch(failed);
}
for (const b of document.querySelectorAll("nav button")) b.onclick = () => go(b.dataset.view);
if (location.hash.length > 1 && ["journal", "runs"].includes(location.hash.slice(1))) go(location.hash.slice(1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawn = 0; if (view === "live") show(); });
connect();
