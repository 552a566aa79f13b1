"""The domain: teams, mailboxes, conversations, pipelines, boxes. Runs without Google, a clock or HTTP."""
