"""The report page of a data set, as HTML and as PDF: one content, two renderers."""
