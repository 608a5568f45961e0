" A YAML file that is a forge config gets the file type `yaml.forge`: everything made for YAML still holds for it.
autocmd BufRead,BufNewFile *.yaml if &filetype =~# '^\%(yaml\)\?$' && forge#is_config(expand('<afile>:p'), getline(1, 200))
      \ | set filetype=yaml.forge | endif
