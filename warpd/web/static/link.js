// The secret of a one-time link stands in the fragment of the address, which no server and no log
// ever sees. It is sent when the owner says so.
const fill = () => {
  const secret = location.hash.slice(1);
  if (!secret) return;
  history.replaceState(null, "", location.pathname);
  document.getElementById("secret").value = secret;
};
addEventListener("hashchange", fill);
fill();
