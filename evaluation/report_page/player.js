"use strict";
// One clock for all clips. They are all equally long; a frame is a fraction of that length.

const report = JSON.parse(document.getElementById("data").textContent);
const videos = [...document.querySelectorAll("video")];
const playButton = document.getElementById("play");
const scrubber = document.getElementById("scrub");
const onScreen = new Set(videos);
const frameListeners = [];
const MAX_DRIFT_S = 0.08;

let frame = 0;
let playing = false;
let startedAt = 0; // clock time at which the clips would have begun

const timeOf = (index) => ((index + 0.5) / report.frames) * report.duration;
const clock = () => performance.now() / 1000;

function showFrame(index) {
  frame = index;
  scrubber.value = String(index);
  const text = `${index + 1} / ${report.frames}`;
  document.getElementById("frame").textContent = text;
  scrubber.setAttribute("aria-valuetext", `frame ${index + 1} of ${report.frames}`);
  for (const listener of frameListeners) listener(index);
}

function seek(index) {
  const wanted = Math.min(Math.max(index, 0), report.frames - 1);
  startedAt = clock() - timeOf(wanted);
  for (const video of videos) video.currentTime = timeOf(wanted);
  showFrame(wanted);
}

function setPlaying(on) {
  playing = on;
  playButton.classList.toggle("playing", on);
  playButton.setAttribute("aria-label", on ? "Pause" : "Play");
  if (on) {
    startedAt = clock() - timeOf(frame);
    requestAnimationFrame(advance);
  } else {
    for (const video of videos) video.pause();
    seek(frame); // all of them stop on the same frame
  }
}

function advance() {
  if (!playing) return;
  const time = (clock() - startedAt) % report.duration;
  for (const video of videos) {
    if (!onScreen.has(video)) {
      video.pause();
      continue;
    }
    if (Math.abs(video.currentTime - time) > MAX_DRIFT_S) video.currentTime = time;
    // A refused play (the tab is hidden) is tried again at the next frame.
    if (video.paused) video.play().catch(() => {});
  }
  const index = Math.min(Math.floor((time / report.duration) * report.frames), report.frames - 1);
  if (index !== frame) showFrame(index);
  requestAnimationFrame(advance);
}

playButton.addEventListener("click", () => setPlaying(!playing));
scrubber.addEventListener("input", () => {
  if (playing) setPlaying(false);
  seek(Number(scrubber.value));
});

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.closest("button, input, summary, a, .scroll")) return;
  if (event.key === " ") setPlaying(!playing);
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});

function step(by) {
  if (playing) setPlaying(false);
  seek((frame + by + report.frames) % report.frames);
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) onScreen.add(entry.target);
    else onScreen.delete(entry.target);
  }
});
for (const video of videos) watcher.observe(video);
