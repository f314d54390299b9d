"""What the site adds to Sphinx: mathematics without a script, and pages made of the code."""
