"""The clock: periodic work against upstream, ticket by ticket, with one credential for as long as a ticket lives."""
