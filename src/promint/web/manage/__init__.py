"""The management API: `/manage/v1/…`, JSON, for the people who run loyalty programs."""
