// Draws a trend with uPlot, and draws it again when there is news. The points come from the server as JSON.
"use strict";

(() => {
  for (const place of document.querySelectorAll("[data-trend]")) draw(place);

  async function draw(place) {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    let chart = null;

    function options() {
      const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      return {
        width: place.clientWidth, height: place.clientHeight,
        legend: { show: false }, cursor: { y: false },
        scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [axis, { ...axis, size: 60 }],
        series: [{}, { label: place.dataset.label, stroke: colour("--accent"), fill: colour("--accent-soft"), width: 2, spanGaps: false, points: { show: false } }],
      };
    }

    async function refresh() {
      const answer = await fetch(place.dataset.trend, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const points = await answer.json();
      if (chart) chart.setData(points);
      else chart = new uPlot(options(), points, place);
    }

    function again() {
      if (chart) chart.destroy();
      chart = null;
      refresh();
    }

    await refresh();
    document.body.addEventListener("eventkit:news", refresh);
    window.addEventListener("resize", () => chart && chart.setSize({ width: place.clientWidth, height: place.clientHeight }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }
})();
