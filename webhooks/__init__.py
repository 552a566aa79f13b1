"""The doors that machines knock on, and the bells we ring."""
