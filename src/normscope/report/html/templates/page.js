"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const tone = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = [];

  const short = v => v == null ? "–" : Math.abs(v) >= 1e5 || (v && Math.abs(v) < 1e-3) ? v.toExponential(1) : String(+v.toPrecision(4));

  function axis(label, size) {
    return { label, size, labelSize: 20, labelGap: 0, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      stroke: tone("--soft"), grid: { stroke: tone("--line"), width: 1 }, ticks: { stroke: tone("--line"), width: 1 },
      values: (_, marks) => marks.map(m => m == null ? "" : short(m)) };
  }

  // Colour is never the only sign: the second line is dashed, and its dots are crosses.
  function crosses(u, i) {
    const { ctx } = u, r = 3.5 * devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    ctx.strokeStyle = tone("--two");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    u.data[i].forEach((v, k) => {
      if (v == null) return;
      const x = u.valToPos(u.data[0][k], "x", true), y = u.valToPos(v, "y", true);
      ctx.moveTo(x - r, y - r); ctx.lineTo(x + r, y + r);
      ctx.moveTo(x - r, y + r); ctx.lineTo(x + r, y - r);
    });
    ctx.stroke();
    ctx.restore();
    return false;
  }

  function series(line, k) {
    const stroke = tone(k ? "--two" : "--one");
    const common = { label: line.label, stroke, width: 1.75, spanGaps: true, value: (_, v) => short(v) };
    if (!line.dots) return { ...common, dash: k ? [7, 4] : undefined };
    return { ...common, paths: () => null, points: k ? { show: crosses } : { show: true, size: 6, width: 1.25, fill: tone("--paper") } };
  }

  function draw(place, chart, group, width) {
    const plots = group.panels.map(panel => new uPlot({
      width, height: 220, scales: { x: { time: false, range: panel.lines.some(l => l.dots) ? (_, low, high) => [low - 0.5, high + 0.5] : undefined } }, cursor: { points: { size: 6 } },
      axes: [axis(chart.x, 30), axis(panel.y, 50)],
      series: [{ label: chart.x, value: (_, v) => short(v) }, ...panel.lines.map(series)],
    }, [group.x, ...panel.lines.map(l => l.values)], place));
    return () => plots.forEach(p => p.destroy());
  }

  for (const place of document.querySelectorAll("[data-chart]")) {
    const chart = charts[place.dataset.chart];
    if (!chart || !chart.groups.length) continue;
    let chosen = 0, clear = () => {};
    const redraw = () => { clear(); clear = draw(place, chart, chart.groups[chosen], Math.max(280, place.clientWidth)); };
    if (chart.groups.length > 1) {
      const label = document.createElement("label"), select = document.createElement("select");
      label.className = "chooser";
      label.append(chart.chooser + " ", select);
      chart.groups.forEach((g, i) => select.add(new Option(g.label, i)));
      select.addEventListener("change", () => { chosen = +select.value; redraw(); });
      place.before(label);
    }
    redraw();
    drawn.push(redraw);
  }

  const all = () => drawn.forEach(f => f());
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; all(); } });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; all(); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; all(); });
})();
