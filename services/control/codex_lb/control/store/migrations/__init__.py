"""How the schema came about, step by step. There is no way back but the backup taken before the way forth."""
