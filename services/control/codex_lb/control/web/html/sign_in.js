const show = (id, text) => {
  const element = document.getElementById(id);
  element.hidden = text === null;
  if (text) element.textContent = text;
};

async function signIn(token) {
  show("problem", null);
  show("form", null);
  show("going", "Signing in…");
  const headers = { "content-type": "application/json", "x-codex-lb-csrf": "1" };
  let said;
  try {
    const answer = await fetch("/auth/sign-in", { method: "POST", headers, body: JSON.stringify({ token }) });
    if (answer.ok) return location.replace("/");
    said = (await answer.json()).message;
  } catch {
    said = "codex-lb did not answer. Try again.";
  }
  show("going", null);
  show("form", "");
  show("problem", said);
}

const given = new URLSearchParams(location.hash.slice(1)).get("token");
history.replaceState(null, "", location.pathname);  // a link that was opened stays in no history
document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(document.getElementById("token").value);
});
if (given) signIn(given);
else show("form", "");
