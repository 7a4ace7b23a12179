"""What more calls would give: a learning curve through nested parts of what is bought, with a band."""
