const at = (id) => document.getElementById(id);
const page = document.querySelector("main").dataset;

async function call(method, message) {
  const headers = { "content-type": "application/json", "x-codex-lb-csrf": page.csrf };
  const answer = await fetch("/api/codex_lb.api.admin.v1." + method, {
    method: "POST", headers, body: JSON.stringify(message),
  }).catch(() => null);
  const said = answer && await answer.json().catch(() => null);
  if (answer && answer.ok && said) return said;
  if (answer && answer.status === 401) location.reload();
  throw new Error((said && said.message) || "codex-lb did not answer. Try again.");
}

at("make").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  at("problem").hidden = true;
  try {
    const made = await call("ApiKeyService/CreateApiKey", { apiKey: { displayName: at("name").value } });
    at("secret").textContent = made.secret;
    at("made-name").textContent = made.apiKey.displayName;
    at("made").hidden = false;
    at("keys").textContent = Number(at("keys").textContent) + 1;
    at("name").value = "";
    if (page.asks !== "yes" && at("ask").checked) {
      await call("SettingsService/UpdateSettings", { settings: { apiKeyAuthEnabled: true }, updateMask: "apiKeyAuthEnabled" });
      page.asks = "yes";
    }
  } catch (error) {
    at("problem").textContent = error.message;
    at("problem").hidden = false;
  }
  button.disabled = false;
});

at("leave").addEventListener("click", async () => {
  await fetch("/auth/sign-out", { method: "POST", headers: { "x-codex-lb-csrf": page.csrf } }).catch(() => null);
  location.reload();
});

const origin = page.port ? `${location.protocol}//${location.hostname}:${page.port}` : location.origin;
for (const place of document.querySelectorAll(".origin")) place.textContent = origin;
setInterval(async () => {
  if (document.hidden) return;
  const answer = await fetch("/").catch(() => null);
  if (!answer || !answer.ok) return;
  const numbers = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("numbers");
  if (numbers) at("numbers").replaceWith(numbers);
}, 5000);
