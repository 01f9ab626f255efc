"""Who may do what with which stream: credentials, what they prove, and what that permits."""
