"""`python -m codex_lb.allinone` is `codex-lb`."""

from codex_lb.allinone.cli import main

main()
