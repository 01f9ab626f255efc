"""The CDN configurations, each run by the server it is written for, in front of a Headgate."""
