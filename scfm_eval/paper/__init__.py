"""A report as a paper's results section: built once as a tree of blocks, written as PDF, HTML or Markdown."""
