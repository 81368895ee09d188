// A barcode reader types an identifier and Enter, again and again: what it types while the page compares must not be lost.
"use strict";
const form = document.getElementById("scanning");
const scan = document.getElementById("scan");
const box = document.getElementById("box");
let busy = false;
let again = false;
let save = false;

async function compare() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  do {
    again = false;
    const said = new URLSearchParams(new FormData(form));
    said.delete("scan");
    if (save) said.set("save", "1");
    save = false;
    const answer = await fetch(form.action, { method: "POST", body: said });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.getElementById("result").replaceWith(page.getElementById("result") || refusal(page));
  } while (again);
  busy = false;
}

function refusal(page) {
  const found = page.querySelector("main");
  found.id = "result";
  return found;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (scan.value.trim()) box.value = (box.value ? box.value.replace(/\n?$/, "\n") : "") + scan.value.trim();
  scan.value = "";
  save = save || Boolean(event.submitter && event.submitter.name === "save");
  if (!save) scan.focus();
  compare().catch(() => form.submit()); // the page itself then says what is wrong
});
