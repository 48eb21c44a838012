// Keeps the page live. The tabs of a browser share one stream of server-sent events: one visible tab holds it and tells
// the others by a BroadcastChannel. A hidden tab closes its stream. Each tab then asks for its own live part.
"use strict";

(() => {
  const address = document.body.dataset.live;
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(`eventkit ${address}`) : null;
  const me = Math.random();
  const silence = 6000; // milliseconds without news from another tab, after which this one opens the stream
  let source = null;
  let waiting = 0;
  let stale = false;

  const pulse = document.querySelector("[data-pulse]");
  const badge = document.querySelector("[data-badge]");
  const title = document.title;
  const counts = badge.closest("a").hasAttribute("aria-current"); // the title of this screen is the count

  function say(state, text) {
    if (pulse.textContent !== text) pulse.textContent = text;
    pulse.className = `pulse ${state}`;
  }

  function show(news) {
    const count = news.critical + news.warnings;
    badge.textContent = count;
    badge.hidden = count === 0;
    badge.className = `badge ${news.critical ? "critical" : "warning"}`;
    if (news.problem) say("off", "No news: the database does not answer");
    else say("on beat", "Live");
    document.title = titled(news.problem, count);
    if (document.hidden) stale = true;
    else refresh();
  }

  function titled(problem, count) {
    if (problem) return `No news · ${counts ? "eventkit" : title}`;
    return counts ? `${count ? `${count} to look at` : "All is well"} · eventkit` : title;
  }

  function refresh() {
    stale = false;
    document.body.dispatchEvent(new CustomEvent("eventkit:news"));
  }

  function open() {
    if (source || document.hidden) return;
    source = new EventSource(address);
    if (channel) channel.postMessage({ from: me, here: true });
    source.onmessage = (event) => {
      const news = JSON.parse(event.data);
      if (channel) channel.postMessage({ from: me, news });
      show(news);
    };
    source.onerror = () => {
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        say("off", "Not live");
        listen();
      }
    };
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  // Open the stream when no other tab has told anything for some seconds; at random, so that one tab is the first.
  function listen(soon) {
    clearTimeout(waiting);
    if (document.hidden || source) return;
    waiting = setTimeout(open, channel && !soon ? silence + Math.random() * 2000 : Math.random() * 300);
  }

  function leave() {
    clearTimeout(waiting);
    if (source && channel) channel.postMessage({ from: me, left: true });
    close();
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data.hello) {
        if (source) channel.postMessage({ from: me, here: true });
      } else if (data.left) {
        listen(true);
      } else {
        if (source && data.from < me) close();
        if (!source) listen();
        if (data.news) show(data.news);
      }
    };
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    if (stale) refresh();
    start();
  });
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", (event) => event.persisted && start());

  function start() {
    if (channel) channel.postMessage({ from: me, hello: true });
    listen(true);
  }

  const current = document.querySelector("nav [aria-current]");
  if (current) current.scrollIntoView({ block: "nearest", inline: "center" });
  start();
})();
