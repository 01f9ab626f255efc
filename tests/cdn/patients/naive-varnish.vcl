# The usual VCL of guides, put into the words of Varnish so that it compiles.
vcl 4.1;
import std;

backend origin { .host = "127.0.0.1"; .port = "ORIGIN"; }

sub vcl_recv { set req.url = std.querysort(req.url); }

sub vcl_hash { hash_data(req.http.Authorization); }

sub vcl_backend_response {
    if (beresp.http.Cache-Control ~ "public") { set beresp.ttl = 60s; }
    if (beresp.http.Cache-Control ~ "stale-while-revalidate") { set beresp.grace = 300s; }
}
