"""What several rules mean by the same word, told once. Imports no framework."""
