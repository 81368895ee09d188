// Says when what is shown is not live any more: the line broke, or the server let go of this page.
"use strict";
function say(words) {
  const place = document.getElementById("stale");
  if (place.textContent !== words) place.textContent = words;
}

document.addEventListener("htmx:sseOpen", () => say(""));
document.addEventListener("htmx:sseError", () => say("Not live: the line to the server is broken. It is tried again."));
document.addEventListener("htmx:sseClose", (event) => {
  if (event.detail.type === "message") say("Not live any more: reload the page to see how things are.");
});
