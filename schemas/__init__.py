"""The contracts: Arrow schemas of the tables, config models, SQL views, errors. A leaf: it imports nothing of ours."""
