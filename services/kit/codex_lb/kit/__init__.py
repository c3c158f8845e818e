"""What every service is built from: start, listen, log, measure, stop. No rule about accounts, leases or limits."""
