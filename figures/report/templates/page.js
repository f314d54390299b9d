"use strict";
// What a reader does with the page: open numbers, print.

for (const details of document.querySelectorAll("details.numbers"))
  details.addEventListener("toggle", () => details.open && showNumbers(details), { once: true });

for (const place of document.querySelectorAll(".curves")) new CurvesView(place);

let opened = [];
addEventListener("beforeprint", () => {
  // but for the claims of which nothing is said, if the reader left them folded
  opened = [...document.querySelectorAll("details:not(.numbers, .group, details.group:not([open]) *):not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});

// a link to something inside a fold opens it
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
