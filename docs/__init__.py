"""The pages of the documentation, and what runs them (`run`) and makes the site of them (`build`)."""
