" Settings for forge configs. With the file type `yaml.forge`, YAML's own were loaded right before.

if &filetype !~# '\<yaml\>'
  runtime! ftplugin/yaml.vim
endif

setlocal commentstring=#\ %s
" `gf` on a line of a defaults list opens the file it names, on a target the Python file that holds it.
let &l:path = join(map(forge#roots(expand('%:p')), {_, folder -> escape(folder, ' ,\')}), ',')
setlocal includeexpr=forge#file(v:fname)

let b:undo_ftplugin = get(b:, 'undo_ftplugin', 'setlocal commentstring<') .. ' | set path< | setlocal includeexpr<'
