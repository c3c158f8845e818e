"""Control over HTTP: the admin API for browsers and curl, and the pages of a first visit."""
