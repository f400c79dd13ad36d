/// The live page at `/`: one document that asks for nothing but `GET /api/stream` of its own site.
///
/// Every text that comes from outside (numbers, names, reasons) is put in as text, never as markup.
package enum LivePage {
    /// The document's bytes.
    package static let bytes = [UInt8](document.utf8)

    /// Allows what the document holds itself and its own stream, nothing else.
    package static let contentSecurityPolicy =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        + "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    private static let document = ##"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <meta name="referrer" content="no-referrer">
        <title>Calls now</title>
        <link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%231f6f5c'/%3E%3Cpath d='M3 9h2.5l1.6-4 2.2 7 1.5-3H13' fill='none' stroke='%23fff' stroke-width='1.6' stroke-linejoin='round' stroke-linecap='round'/%3E%3C/svg%3E">
        <style>
        :root {
          --ground: #f6f6f3; --card: #fff; --ink: #1c2321; --soft: #5b6662; --line: #e1e3de; --hover: #f2f4f0;
          --accent: #1f6f5c; --fill: #1f6f5c1f;
          --good: #176b4d; --good-bg: #e0f1e8; --wait: #8a5200; --wait-bg: #fbedd0;
          --bad: #a8261c; --bad-bg: #fbe3df; --idle: #59625f; --idle-bg: #eceeea;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --ground: #121615; --card: #1a1f1e; --ink: #e6ebe8; --soft: #97a39e; --line: #2a3230; --hover: #202726;
            --accent: #5cc2a4; --fill: #5cc2a426;
            --good: #74d3a5; --good-bg: #173a2c; --wait: #f0b95a; --wait-bg: #40300f;
            --bad: #ff9d92; --bad-bg: #4a201b; --idle: #a5afab; --idle-bg: #29302e;
          }
        }
        * { box-sizing: border-box; }
        html { -webkit-text-size-adjust: 100%; }
        body {
          margin: 0; background: var(--ground); color: var(--ink);
          font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Inter, Roboto, "Helvetica Neue", sans-serif;
          font-variant-numeric: tabular-nums; font-feature-settings: "tnum";
        }
        svg { display: block; }
        main, header { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
        header { display: flex; align-items: center; gap: 12px; padding-top: 18px; padding-bottom: 14px; }
        h1 { white-space: nowrap; font-size: 17px; font-weight: 650; letter-spacing: -.01em; margin: 0; }
        h1 small { font-weight: 400; color: var(--soft); font-size: 13px; letter-spacing: 0; margin-left: 8px; }
        h2 { font-size: 12px; font-weight: 600; color: var(--soft); margin: 0; }
        .stream { margin-left: auto; display: flex; align-items: center; gap: 7px; color: var(--soft); font-size: 13px; }
        .stream i { width: 8px; height: 8px; border-radius: 50%; background: var(--good); flex: none; }
        .stream.down { color: var(--wait); font-weight: 600; }
        .stream.down i { background: none; border: 2px solid var(--wait); border-right-color: transparent; width: 11px; height: 11px; }
        .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
        .links { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 14px; padding: 0; list-style: none; }
        .links li { display: flex; align-items: baseline; gap: 8px; padding: 6px 12px 6px 10px; min-width: 0; max-width: 100%; }
        .links svg { width: 12px; height: 12px; flex: none; align-self: center; color: var(--good); }
        .links b { font-weight: 600; white-space: nowrap; }
        .links span { color: var(--soft); overflow-wrap: anywhere; }
        .links .warn { background: var(--wait-bg); border-color: transparent; }
        .links .error { background: var(--bad-bg); border-color: transparent; }
        .links .warn svg, .links .warn span { color: var(--wait); }
        .links .error svg, .links .error span { color: var(--bad); }
        .links .off svg { color: var(--idle); }
        .top { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 14px; margin-bottom: 14px; }
        dl.counters { margin: 0; display: grid; grid-template-columns: repeat(3, 1fr); grid-auto-rows: 1fr; height: 100%; }
        .counters div { padding: 12px 16px 11px; border-left: 1px solid var(--line); border-top: 1px solid var(--line); margin: -1px 0 0 -1px; }
        .counters dt { color: var(--soft); font-size: 12px; white-space: nowrap; }
        .counters dd { margin: 2px 0 0; font-size: 23px; font-weight: 600; line-height: 1.15; letter-spacing: -.015em; white-space: nowrap; }
        .counters dd.small { font-size: 17px; line-height: 1.55; }
        .plot { padding: 11px 16px 10px; display: flex; flex-direction: column; min-width: 0; }
        .plot .head { display: flex; align-items: baseline; justify-content: space-between; gap: 12px; font-size: 12px; color: var(--soft); }
        .plot .area { position: relative; flex: 1; min-height: 84px; margin: 10px 46px 0 0; }
        .plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
        .plot .grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
        .plot .line { fill: none; stroke: var(--accent); stroke-width: 1.5; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
        .plot .under { fill: var(--fill); stroke: none; }
        .plot .area span { position: absolute; left: calc(100% + 8px); top: 0; transform: translateY(-50%); font-size: 11px; line-height: 1; color: var(--soft); }
        .plot .area .middle { top: 50%; }
        .plot .area .bottom { top: 100%; }
        .plot .axis { display: flex; justify-content: space-between; font-size: 11px; color: var(--soft); margin: 5px 46px 0 0; }
        .list { overflow: hidden; margin-bottom: 28px; }
        .list .head { display: flex; align-items: baseline; gap: 10px; padding: 11px 16px 10px; border-bottom: 1px solid var(--line); }
        .list .head p { margin: 0 0 0 auto; color: var(--soft); font-size: 12px; }
        table { width: 100%; border-collapse: collapse; table-layout: fixed; }
        th { text-align: left; font-size: 12px; font-weight: 500; color: var(--soft); padding: 7px 16px 6px; border-bottom: 1px solid var(--line); }
        td { padding: 6px 16px; border-bottom: 1px solid var(--line); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
        tbody tr:last-child td { border-bottom: 0; }
        tbody tr:hover { background: var(--hover); }
        th.n, td.n { text-align: right; }
        .c-dir { width: 124px; } .c-st { width: 142px; } .c-dur { width: 96px; } .c-legs { width: 66px; } .c-start { width: 100px; } .c-pbx { width: 142px; }
        td.c-st { text-overflow: clip; }
        .dir { display: flex; align-items: center; gap: 7px; color: var(--soft); }
        .dir svg { width: 14px; height: 14px; flex: none; }
        .num { font-weight: 550; }
        .none { color: var(--soft); font-weight: 400; }
        .soft { color: var(--soft); }
        .pill { display: inline-flex; align-items: center; gap: 6px; border-radius: 20px; padding: 1px 10px 1px 8px; font-size: 13px; font-weight: 550; color: var(--idle); background: var(--idle-bg); }
        .pill svg { width: 9px; height: 9px; }
        .ringing .pill { color: var(--wait); background: var(--wait-bg); }
        .answered .pill { color: var(--good); background: var(--good-bg); }
        .error .pill { color: var(--bad); background: var(--bad-bg); }
        tr.gone { color: var(--soft); }
        tr.gone .num { font-weight: 400; }
        .empty { padding: 44px 20px 48px; text-align: center; color: var(--soft); margin: 0; }
        .empty b { display: block; color: var(--ink); font-weight: 600; margin-bottom: 3px; }
        .stale .top, .stale .list, .stale .links { opacity: .55; }
        .hide { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
        [hidden] { display: none !important; }
        .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; border-radius: 10px; }
        @media (prefers-reduced-motion: no-preference) {
          .stream.down i { animation: turn 1s linear infinite; }
          .ringing .pill svg { animation: beat 1.3s ease-in-out infinite; }
          .top, .list, .links { transition: opacity .25s; }
        }
        @keyframes turn { to { transform: rotate(360deg); } }
        @keyframes beat { 50% { opacity: .35; } }
        @media (max-width: 1000px) { .c-pbx { display: none; } }
        @media (max-width: 860px) { .top { grid-template-columns: minmax(0, 1fr); } .c-start { display: none; } }
        @media (max-width: 620px) {
          main, header { padding-left: 12px; padding-right: 12px; }
          header { padding-top: 13px; padding-bottom: 11px; }
          h1 small { display: none; }
          .links { gap: 6px; } .links li { width: 100%; padding: 7px 12px; }
          .links .warn, .links .error { display: grid; grid-template-columns: 12px minmax(0, 1fr); gap: 0 8px; }
          .links .warn span, .links .error span { grid-column: 2; }
          .stream time { display: none; }
          .counters div { padding: 9px 12px; }
          .counters dd { font-size: 20px; } .counters dd.small { font-size: 15px; line-height: 1.53; }
          .list .head { padding: 10px 12px 9px; }
          thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
          table, tbody { display: block; }
          tbody tr { display: grid; grid-template-columns: 20px minmax(0, 1fr) auto; gap: 1px 8px; padding: 9px 12px 10px; border-bottom: 1px solid var(--line); align-items: center; }
          tbody tr:last-child { border-bottom: 0; }
          td { display: block; width: auto !important; padding: 0; border: 0; }
          td.c-dir { grid-area: 1 / 1; } .dir span { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
          td.c-from { grid-area: 1 / 2; } td.c-st { grid-area: 1 / 3; text-align: right; }
          td.c-to { grid-area: 2 / 2; color: var(--soft); } td.c-to .num:not(.none)::before { content: "to "; }
          td.c-to .num { font-weight: 400; }
          td.c-dur { grid-area: 2 / 3; font-size: 13px; }
          td.c-legs, td.c-start, td.c-pbx { display: none; }
        }
        </style>
        </head>
        <body>
        <svg class="hide" aria-hidden="true">
          <symbol id="i-inbound" viewBox="0 0 14 14"><path d="M11.2 2.8 3.4 10.6M3 5v6h6" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"/></symbol>
          <symbol id="i-outbound" viewBox="0 0 14 14"><path d="m2.8 11.2 7.8-7.8M5 3h6v6" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"/></symbol>
          <symbol id="i-unknown" viewBox="0 0 14 14"><path d="M3 7h8" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round"/></symbol>
          <symbol id="s-ringing" viewBox="0 0 10 10"><circle cx="5" cy="5" r="3.6" fill="none" stroke="currentColor" stroke-width="2"/></symbol>
          <symbol id="s-answered" viewBox="0 0 10 10"><circle cx="5" cy="5" r="4.6" fill="currentColor"/></symbol>
          <symbol id="s-finished" viewBox="0 0 10 10"><rect x="1.2" y="1.2" width="7.6" height="7.6" rx="1.6" fill="currentColor"/></symbol>
          <symbol id="s-error" viewBox="0 0 10 10"><path d="m1.5 1.5 7 7m0-7-7 7" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"/></symbol>
          <symbol id="l-ok" viewBox="0 0 12 12"><path d="m2 6.4 2.7 2.8L10 3.2" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></symbol>
          <symbol id="l-warn" viewBox="0 0 12 12"><path d="M6 1.3v5.5m0 3.4v.1" fill="none" stroke="currentColor" stroke-width="2.3" stroke-linecap="round"/></symbol>
          <symbol id="l-error" viewBox="0 0 12 12"><path d="m2.2 2.2 7.6 7.6m0-7.6L2.2 9.8" fill="none" stroke="currentColor" stroke-width="2.2" stroke-linecap="round"/></symbol>
          <symbol id="l-off" viewBox="0 0 12 12"><path d="M2.5 6h7" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></symbol>
        </svg>

        <header>
          <h1>Calls now<small>callflow-fast</small></h1>
          <div class="stream down" id="stream" role="status"><i aria-hidden="true"></i><span><span id="stream-text">connecting…</span><time id="stream-time"></time></span></div>
        </header>

        <main id="main">
          <h2 class="hide">Links</h2>
          <ul class="links" id="links" aria-live="polite"></ul>

          <div class="top">
            <section aria-label="Counters" class="card" style="overflow:hidden">
              <dl class="counters">
                <div><dt>Active calls</dt><dd id="n-active">–</dd></div>
                <div><dt>Ringing</dt><dd id="n-ringing">–</dd></div>
                <div><dt>Answered</dt><dd id="n-answered">–</dd></div>
                <div><dt>Events/s</dt><dd id="n-rate">–</dd></div>
                <div><dt>Events in all</dt><dd id="n-events" class="small">–</dd></div>
                <div><dt>Calls ended</dt><dd id="n-ended" class="small">–</dd></div>
              </dl>
            </section>
            <section class="card plot" aria-label="Events per second">
              <div class="head"><h2>Events per second</h2><span id="peak"></span></div>
              <div class="area">
                <svg id="plot" viewBox="0 0 300 100" preserveAspectRatio="none" role="img" aria-label="No data yet">
                  <path class="grid" d="M0 .5H300M0 50H300M0 99.5H300"/>
                  <path class="under" id="plot-under"/><path class="line" id="plot-line"/>
                </svg>
                <span id="plot-top" aria-hidden="true"></span><span class="middle" id="plot-middle" aria-hidden="true"></span><span class="bottom" aria-hidden="true">0</span>
              </div>
              <div class="axis" aria-hidden="true"><span>5 min ago</span><span>now</span></div>
            </section>
          </div>

          <section class="card list scroll" aria-labelledby="calls-title">
            <div class="head"><h2 id="calls-title">Calls</h2><p id="more"></p></div>
            <table role="table" aria-labelledby="calls-title" id="table" hidden>
              <thead role="rowgroup"><tr role="row">
                <th role="columnheader" scope="col" class="c-dir">Direction</th>
                <th role="columnheader" scope="col" class="c-from">Caller</th>
                <th role="columnheader" scope="col" class="c-to">Callee</th>
                <th role="columnheader" scope="col" class="c-st">Status</th>
                <th role="columnheader" scope="col" class="c-dur n">Duration</th>
                <th role="columnheader" scope="col" class="c-legs n">Legs</th>
                <th role="columnheader" scope="col" class="c-start n">Started</th>
                <th role="columnheader" scope="col" class="c-pbx">PBX</th>
              </tr></thead>
              <tbody role="rowgroup" id="rows"></tbody>
            </table>
            <p class="empty" id="empty"><b>Connecting…</b></p>
          </section>
          <noscript><p class="empty"><b>This page needs JavaScript.</b>The same facts are at <a href="/api/calls">/api/calls</a>, <a href="/health">/health</a> and <a href="/metrics">/metrics</a>.</p></noscript>
        </main>

        <template id="row"><tr role="row">
          <td role="cell" class="c-dir"><div class="dir"><svg aria-hidden="true"><use/></svg><span></span></div></td>
          <td role="cell" class="c-from"><span class="num"></span></td>
          <td role="cell" class="c-to"><span class="num"></span></td>
          <td role="cell" class="c-st"><span class="pill"><svg aria-hidden="true"><use/></svg><span></span></span></td>
          <td role="cell" class="c-dur n"></td>
          <td role="cell" class="c-legs n"></td>
          <td role="cell" class="c-start n soft"></td>
          <td role="cell" class="c-pbx soft"></td>
        </tr></template>
        <template id="link"><li class="card"><svg aria-hidden="true"><use/></svg><b></b><span></span></li></template>

        <script>
        "use strict";
        (() => {
          const maximumRows = 200, keptAfterEnd = 5000, samples = 300, silence = 10000;
          const $ = id => document.getElementById(id);
          const number = new Intl.NumberFormat("en-US");
          const calls = new Map();      // call_id -> { call, row, cells, goneAt }
          let active = 0, skew = 0, rates = [], links = [], source = null, lastHeard = 0, retry = 1000, alive = false;

          const words = { inbound: "Inbound", outbound: "Outbound", unknown: "Unknown" };
          const states = { ringing: "Ringing", answered: "Answered", finished: "Ended", error: "Failed" };

          // Every text comes from outside: it is only ever put in as text, and only when it changed.
          function put(node, text) { if (node.textContent !== text) node.textContent = text; }
          function name(cell, text) {
            const known = typeof text === "string" && text !== "";
            put(cell, known ? text : "not given");
            cell.className = known ? "num" : "num none";
            cell.title = known && text.length > 18 ? text : "";
          }
          const time = text => { const t = Date.parse(text); return Number.isNaN(t) ? null : t; };
          const two = n => (n < 10 ? "0" : "") + n;
          function clock(ms) { const d = new Date(ms); return two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds()); }
          function duration(ms) {
            const s = Math.max(0, Math.floor(ms / 1000)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
            return (h ? h + ":" + two(m) : m) + ":" + two(s % 60);
          }
          const now = () => Date.now() + skew;

          function makeRow(call) {
            const row = $("row").content.firstElementChild.cloneNode(true), td = row.children;
            const entry = { call, row, goneAt: 0, cells: {
              dirIcon: td[0].querySelector("use"), dir: td[0].querySelector("span"),
              from: td[1].firstElementChild, to: td[2].firstElementChild,
              statusIcon: td[3].querySelector("use"), status: td[3].querySelector("span span"),
              duration: td[4], legs: td[5], started: td[6], pbx: td[7] } };
            return entry;
          }
          function fill(entry) {
            const { call, cells, row } = entry;
            const dir = words[call.direction] ? call.direction : "unknown";
            const status = states[call.status] ? call.status : "error";
            cells.dirIcon.setAttribute("href", "#i-" + dir); put(cells.dir, words[dir]);
            name(cells.from, call.caller_number); name(cells.to, call.callee_number);
            cells.statusIcon.setAttribute("href", "#s-" + status); put(cells.status, states[status]);
            row.className = status + (entry.goneAt ? " gone" : "");
            put(cells.legs, number.format(call.legs || 0));
            const start = time(call.started_at);
            put(cells.started, start === null ? "" : clock(start));
            put(cells.pbx, typeof call.pbx === "string" ? call.pbx : "");
            cells.pbx.title = cells.pbx.textContent;
            row.title = "";
            tickOne(entry);
          }
          function tickOne(entry) {
            const start = time(entry.call.started_at);
            const end = time(entry.call.ended_at) ?? (entry.goneAt ? entry.goneAt : now());
            put(entry.cells.duration, start === null ? "" : duration(end - start));
          }
          function place(entry) {
            // Newest first; a row stays where it is when its call changes.
            const body = $("rows"), start = time(entry.call.started_at) ?? 0;
            let before = body.firstElementChild;
            while (before && before.startedAt > start) before = before.nextElementSibling;
            entry.row.startedAt = start;
            body.insertBefore(entry.row, before);
          }
          function upsert(call) {
            if (!call || typeof call.call_id !== "string") return;
            let entry = calls.get(call.call_id);
            if (!entry) { entry = makeRow(call); calls.set(call.call_id, entry); place(entry); }
            entry.call = call; entry.goneAt = 0;
            fill(entry);
          }
          function remove(id) { const entry = calls.get(id); if (entry) { entry.row.remove(); calls.delete(id); } }
          function end(call) {
            const entry = calls.get(call.call_id);
            if (!entry) return;
            Object.assign(entry.call, call);
            if (entry.call.status !== "error") entry.call.status = "finished";
            entry.goneAt = now();
            fill(entry);
          }
          function prune() {
            const t = now();
            for (const [id, entry] of calls) if (entry.goneAt && t - entry.goneAt > keptAfterEnd) remove(id);
            // Under load the ended ones make room first, then the oldest.
            if (calls.size > maximumRows) for (const [id, entry] of calls) { if (calls.size <= maximumRows) break; if (entry.goneAt) remove(id); }
            while (calls.size > maximumRows) {
              const last = $("rows").lastElementChild;
              const found = [...calls].find(([, entry]) => entry.row === last);
              if (!found) break;
              remove(found[0]);
            }
          }
          function summary() {
            let shown = 0;
            for (const entry of calls.values()) if (!entry.goneAt) shown++;
            const rest = Math.max(0, active - shown);
            const pbx = links.filter(l => l.kind === "pbx");
            const deaf = pbx.length > 0 && pbx.every(l => l.state !== "ok");
            put($("more"), deaf && shown ? "as last known: no PBX is connected" : rest ? "newest " + number.format(shown) + " shown, and " + number.format(rest) + " more" : shown ? "newest first" : "");
            const none = calls.size === 0;
            $("table").hidden = none; $("empty").hidden = !none;
            if (none) {
              const empty = $("empty");
              const title = deaf ? "No calls can be seen" : "No calls right now";
              const text = deaf ? "No PBX is connected; see above for what is wrong." : "A call appears here as soon as it rings.";
              if (empty.dataset.key !== title) {
                empty.dataset.key = title; empty.textContent = "";
                const b = document.createElement("b"); b.textContent = title; empty.append(b, text);
              }
            }
            document.title = active ? number.format(active) + (active === 1 ? " call now" : " calls now") : "Calls now";
          }

          function counters(c) {
            if (!c) return;
            active = c.active || 0;
            put($("n-active"), number.format(active));
            put($("n-ringing"), number.format(c.ringing || 0));
            put($("n-answered"), number.format(c.answered || 0));
            put($("n-events"), number.format(c.events || 0));
            put($("n-ended"), number.format(c.ended || 0));
          }
          function niceTop(peak) {
            let step = 1;
            while (true) for (const factor of [1, 2, 5]) { const top = factor * step * 2; if (top >= peak && top >= 4) return top; if (factor === 5) step *= 10; }
          }
          function plot() {
            const shown = rates.slice(-samples), peak = Math.max(0, ...shown), last = shown.length ? shown[shown.length - 1] : 0;
            put($("n-rate"), shown.length ? number.format(last) : "–");
            put($("peak"), shown.length ? "peak " + number.format(peak) : "");
            const top = niceTop(peak), dx = 300 / (samples - 1), first = samples - shown.length;
            put($("plot-top"), number.format(top)); put($("plot-middle"), number.format(top / 2));
            let line = "";
            shown.forEach((rate, i) => { line += (i ? "L" : "M") + ((first + i) * dx).toFixed(1) + " " + (99.5 - 99 * rate / top).toFixed(1); });
            $("plot-line").setAttribute("d", line);
            $("plot-under").setAttribute("d", line ? line + "V99.5H" + (first * dx).toFixed(1) + "Z" : "");
            $("plot").setAttribute("aria-label", "Events per second over the last five minutes: now " + number.format(last) + ", peak " + number.format(peak));
          }
          function showLinks(list) {
            if (!Array.isArray(list)) return;
            links = list;
            const host = $("links");
            list.forEach((link, i) => {
              let item = host.children[i];
              if (!item) { item = $("link").content.firstElementChild.cloneNode(true); host.append(item); }
              const state = ["ok", "warn", "error", "off"].includes(link.state) ? link.state : "error";
              item.className = "card " + state;
              item.querySelector("use").setAttribute("href", "#l-" + state);
              put(item.children[1], String(link.name)); put(item.children[2], String(link.text));
            });
            while (host.children.length > list.length) host.lastElementChild.remove();
          }

          function heard(data) {
            lastHeard = Date.now(); retry = 1000;
            const t = time(data.now);
            if (t !== null && Math.abs(t - Date.now() - skew) > 1500) skew = t - Date.now();
            if (!alive) setAlive(true);
          }
          function onSnapshot(data) {
            heard(data);
            calls.clear(); $("rows").textContent = "";
            counters(data.counters); showLinks(data.links);
            rates = Array.isArray(data.rates) ? data.rates.map(Number) : [];
            for (const call of [...(data.calls || [])].reverse()) upsert(call);
            prune(); plot(); summary();
          }
          function onDelta(data) {
            heard(data);
            counters(data.counters); showLinks(data.links);
            for (const id of data.left || []) remove(id);
            for (const call of data.ended || []) end(call);
            for (const call of data.changed || []) upsert(call);
            if (Array.isArray(data.rates) && data.rates.length) {
              rates.push(...data.rates.map(Number));
              if (rates.length > samples) rates.splice(0, rates.length - samples);
              plot();
            }
            prune(); summary();
          }

          function setAlive(is) {
            alive = is;
            $("stream").className = is ? "stream" : "stream down";
            put($("stream-text"), is ? "live" : lastHeard ? "reconnecting…" : "connecting…");
            put($("stream-time"), !is && lastHeard ? " last update " + clock(lastHeard) : "");
            $("main").className = is || !lastHeard ? "" : "stale";
          }
          function open() {
            if (source) source.close();
            const mine = source = new EventSource("/api/stream");
            const guard = handler => event => {
              if (mine !== source) return;
              let data; try { data = JSON.parse(event.data); } catch { return; }
              handler(data);
            };
            mine.addEventListener("snapshot", guard(onSnapshot));
            mine.addEventListener("delta", guard(onDelta));
            mine.onerror = () => {
              if (mine !== source) return;
              setAlive(false);
              // The browser retries by itself unless the answer was no stream (503, for example).
              if (mine.readyState === EventSource.CLOSED) { setTimeout(open, retry); retry = Math.min(retry * 2, 15000); }
            };
          }
          setInterval(() => {
            if (alive) { for (const entry of calls.values()) tickOne(entry); prune(); summary(); }
            if (alive && Date.now() - lastHeard > silence) { setAlive(false); open(); }
          }, 1000);
          open();
        })();
        </script>
        </body>
        </html>
        """##
}
