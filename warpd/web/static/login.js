// A one-time code stands in the fragment of the address, which no server and no log ever sees.
const signIn = () => {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  const field = document.getElementById("code");
  field.value = code;
  field.form.requestSubmit();
};
addEventListener("hashchange", signIn);
signIn();
