function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.body.appendChild(document.createElement("textarea"));  // by http, where there is no clipboard
  field.value = text;
  field.select();
  document.execCommand("copy");
  field.remove();
}
for (const snippet of document.querySelectorAll(".snippet")) {
  const button = snippet.appendChild(document.createElement("button"));
  button.type = "button";
  button.textContent = "Copy";
  button.onclick = async () => {
    await copied(snippet.querySelector("code").innerText.trimEnd());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
}
