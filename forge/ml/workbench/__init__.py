"""The workbench: a process that keeps torch warm and answers what is asked of a frozen config."""
