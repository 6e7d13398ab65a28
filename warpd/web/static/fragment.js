// A secret stands in the fragment of the address, which no server and no log ever sees. It goes into
// the form: a one-time code is sent at once, the secret of a link when its owner says so.
const fill = () => {
  const secret = location.hash.slice(1);
  if (!secret) return;
  history.replaceState(null, "", location.pathname);
  const field = document.querySelector("[data-fragment]");
  field.value = secret;
  if (field.dataset.fragment === "send") field.form.requestSubmit();
};
addEventListener("hashchange", fill);
fill();
