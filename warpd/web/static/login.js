// A one-time code stands in the fragment of the address, which no server and no log ever sees.
const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", location.pathname);
  const field = document.getElementById("code");
  field.value = code;
  field.form.requestSubmit();
}
