"""How logins reach the pool: what tokens say about their owner, and the files and flows they come from."""
