// Tracks over the frames: bright what moves by itself, faint what goes with the camera.

const TAIL_FRAMES = 6;
const TRACK_UNITS = 1000;
const tracksSwitch = document.getElementById("tracks");

function drawTracks(card, index) {
  const motion = report.motions[card.dataset.key];
  const canvas = card.querySelector("canvas");
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (!motion || !tracksSwitch.checked) return;
  const place = ([x, y]) => [(x / TRACK_UNITS) * width, (y / TRACK_UNITS) * height];
  context.lineCap = "round";
  for (const track of motion.tracks) {
    if (!track.visible[index]) continue;
    const [x, y] = place(track.points[index]);
    context.strokeStyle = context.fillStyle = track.moving ? "#ffb000" : "#ffffff";
    const strength = track.moving ? 0.95 : 0.45;
    context.lineWidth = (track.moving ? 1.75 : 1) * ratio;
    for (let back = 1; back <= TAIL_FRAMES && back <= index; back++) {
      context.globalAlpha = strength * (1 - back / (TAIL_FRAMES + 1));
      context.beginPath();
      context.moveTo(...place(track.points[index - back]));
      context.lineTo(...place(track.points[index - back + 1]));
      context.stroke();
    }
    context.globalAlpha = strength;
    context.beginPath();
    context.arc(x, y, (track.moving ? 2 : 1.25) * ratio, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

const cards = [...document.querySelectorAll(".card")];
const drawAllTracks = (index) => cards.forEach((card) => drawTracks(card, index));
frameListeners.push(drawAllTracks);
tracksSwitch.addEventListener("change", () => drawAllTracks(frame));
new ResizeObserver(() => drawAllTracks(frame)).observe(document.body);
for (const video of videos) video.addEventListener("loadedmetadata", () => drawAllTracks(frame));
