vcl 4.1;
# As docs/operating.md has it; the test replaces the port of the backend.
backend gateway { .host = "127.0.0.1"; .port = "BACKEND"; }
acl purgers { "127.0.0.1"; }
sub vcl_recv {
  if (req.method == "BAN") {
    if (client.ip !~ purgers) { return (synth(403)); }
    if (req.http.Surrogate-Key !~ "^[sr]-[0-9a-f]+(\|[sr]-[0-9a-f]+)*$") { return (synth(400)); }
    ban("obj.http.Surrogate-Key ~ " + req.http.Surrogate-Key);
    return (synth(200));
  }
}
