" Indenting as in YAML, but in a defaults list one entry follows another: under it, not within it.

if &filetype !~# '\<yaml\>'
  runtime! indent/yaml.vim
endif

setlocal indentexpr=forge#indent(v:lnum)
