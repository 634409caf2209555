"""The page on the promised rates, and the parts drawn for re-inspection."""
