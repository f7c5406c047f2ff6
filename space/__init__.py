"""The Gradio Space: one module a tab, and `app.py`, which joins and starts them."""
