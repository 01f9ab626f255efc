# Varnish by its built-in rules, which go by Surrogate-Control where there is one.
vcl 4.1;

backend origin { .host = "127.0.0.1"; .port = "ORIGIN"; }

sub vcl_deliver {
    set resp.http.X-Cache-Status = "MISS";
    if (obj.hits > 0) { set resp.http.X-Cache-Status = "HIT"; }
}
