" Where forge looks for files, and how its configs are indented. Nothing here starts a process.

let s:saved_cpo = &cpo
set cpo&vim

" Whether a file is a forge config: by its place, its header, or keys that only such files have.
function! forge#is_config(file, lines) abort
  if a:file =~# '/project\.yaml$'
    return v:false
  endif
  for root in forge#roots(a:file)
    if stridx(a:file, root .. '/') == 0
      return v:true
    endif
  endfor
  if get(a:lines, 0, '') =~# '^#\s*@package\s'
    return v:true
  endif
  if match(a:lines, '\%(^\s*\%(-\s\+\)*\|{\s*\|,\s*\)["'']\?_\%(target\|symbol\|partial\|list\|new\)_["'']\?\s*:') >= 0
    return v:true
  endif
  let at = match(a:lines, '^defaults:')
  return at >= 0 && (a:lines[at] .. ' ' .. get(a:lines, at + 1, '')) =~# '^defaults:\s*\%(\[\|-\s\)'
endfunction

" The folders a file's configs are looked up in, in forge's order: the project's, those it stands on, yours, the library.
function! forge#roots(file) abort
  let found = []
  let project = s:above(a:file, {folder -> filereadable(folder .. '/project.yaml')})
  if project !=# ''
    call s:add_project(project, found)
  endif
  let user = $FORGE_CONFIG_HOME !=# '' ? $FORGE_CONFIG_HOME
        \ : ($XDG_CONFIG_HOME =~# '^/' ? $XDG_CONFIG_HOME : $HOME .. '/.config') .. '/forge'
  let library = forge#library(a:file)
  for folder in [user .. '/configs'] + (library ==# '' ? [] : [library .. '/configs'])
    if isdirectory(folder) && index(found, folder) < 0
      call add(found, folder)
    endif
  endfor
  return found
endfunction

" The folder of forge's own configs, templates and projects: around the file, else of the `forge` on your PATH. Set
" g:forge_library where it is neither.
function! forge#library(file) abort
  if exists('g:forge_library')
    return g:forge_library
  endif
  let around = s:above(a:file, {folder -> s:is_library(folder)})
  if around !=# ''
    return around
  endif
  let places = map(s:packages(), {_, folder -> folder .. '/forge/library'})
  return get(filter(places + [fnamemodify(s:environment(), ':h')], {_, folder -> s:is_library(folder)}), 0, '')
endfunction

" The file that the line under the cursor means by a name, for 'includeexpr'; the name itself when there is none.
function! forge#file(name) abort
  let line = getline('.')
  let target = matchstr(line, '\<_\%(target\|symbol\)_["'']\?\s*:\s*["'']\?\zs[[:alnum:]_.]\+')
  let found = target !=# '' ? s:python_file(target) : s:config_file(line, a:name)
  return found ==# '' ? a:name : found
endfunction

" The indent of a line: YAML's, but in a defaults list the next entry is the likely next line.
function! forge#indent(lnum) abort
  let above = prevnonblank(a:lnum - 1)
  if getline(above) !~# '^\s*-\s' || getline(s:section(above)) !~# '^defaults:\s*\%(#.*\)\?$'
    return GetYAMLIndent(a:lnum)
  endif
  if getline(a:lnum) =~# '^\s*[^[:space:]#-]'
    return 0
  endif
  return indent(above) + (getline(above) =~# ':\s*\%(#.*\)\?$' ? shiftwidth() : 0)
endfunction

" ---- the parts of the above

" The nearest folder above a file of which something is true, or ''.
function! s:above(file, true) abort
  let folder = fnamemodify(a:file, ':h')
  while !a:true(folder)
    let parent = fnamemodify(folder, ':h')
    if parent ==# folder
      return ''
    endif
    let folder = parent
  endwhile
  return folder
endfunction

" The line of the key, at the very left, that a line stands below.
function! s:section(lnum) abort
  let lnum = a:lnum
  while lnum > 0 && getline(lnum) !~# '^[^[:space:]#-]'
    let lnum -= 1
  endwhile
  return lnum
endfunction

" The folder of the virtual environment that the `forge` on PATH is in, and its folders of packages.
function! s:environment() abort
  return fnamemodify(exepath('forge'), ':h:h')
endfunction

function! s:packages() abort
  return exepath('forge') ==# '' ? [] : glob(s:environment() .. '/lib/python3*/site-packages', v:true, v:true)
endfunction

function! s:is_library(folder) abort
  return isdirectory(a:folder .. '/configs') && isdirectory(a:folder .. '/chat_templates')
endfunction

function! s:add_project(folder, found) abort
  let own = a:folder .. '/configs'
  if index(a:found, own) >= 0
    return
  endif
  call add(a:found, own)
  for entry in s:listed(a:folder .. '/project.yaml', 'search_path')
    if entry =~# '/' || entry =~# '^\.'
      let path = entry =~# '^[/~]' ? expand(entry) : a:folder .. '/' .. entry
      call add(a:found, substitute(simplify(path), '/$', '', ''))
      continue
    endif
    let beside = fnamemodify(a:folder, ':h')
    for place in [beside, beside .. '/projects', fnamemodify(beside, ':h')]
      if filereadable(place .. '/' .. entry .. '/project.yaml')
        call s:add_project(place .. '/' .. entry, a:found)
        break
      endif
    endfor
  endfor
endfunction

" The items of a list of names in a project file, which stands in one line or below its key.
function! s:listed(file, key) abort
  let lines = map(readfile(a:file, '', 200), {_, line -> substitute(line, '\%(^\|\s\)#.*', '', '')})
  let at = match(lines, '^' .. a:key .. ':')
  if at < 0
    return []
  endif
  let text = substitute(lines[at], '^' .. a:key .. ':', '', '')
  for line in lines[at + 1 :]
    if line =~# '^[^[:space:]-]' && text !~# '\[[^]]*$'
      break
    endif
    let text ..= ' ' .. substitute(line, '^\s*-\s*', ',', '')
  endfor
  return filter(map(split(text, '[][,]'), {_, item -> trim(item, " \t\"'")}), {_, item -> item !=# ''})
endfunction

" The file of a default: `- group: choice`, `- group@package: choice`, `- config`, or one item of a list of choices.
function! s:config_file(line, name) abort
  let group = s:group(line('.'))
  " On the group or the package, what is meant is the choice, the first if there are several.
  let choices = matchstr(a:line, group ==# '' ? '^\s*-\s\zs[^@]*\ze@' : '^\s*-\s[^:]*:\zs\s.*')
  let names = split(substitute(choices, '\s#.*', '', ''), '[][:space:],"'']\+\|[[]')
  let name = empty(names) || index(names, a:name) >= 0 ? a:name : names[0]
  if group !=# ''
    let name = substitute(group, '/$', '', '') .. '/' .. name
  endif
  let roots = forge#roots(expand('%:p'))
  let here = ''
  for root in roots
    if stridx(expand('%:p:h') .. '/', root .. '/') == 0
      let here = expand('%:p:h')[len(root) + 1 :]
      break
    endif
  endfor
  " Without a slash in front, a name is looked for beside this file.
  let wanted = name =~# '^/' ? name[1:] : (here ==# '' ? name : here .. '/' .. name)
  for root in roots
    if filereadable(root .. '/' .. wanted .. '.yaml')
      return root .. '/' .. wanted .. '.yaml'
    endif
  endfor
  return ''
endfunction

" The group that the default in a line, or the list it is in, chooses from; '' for a line that names a config.
function! s:group(lnum) abort
  let pattern = '^\s*-\s\+["'']\?\%(\%(override\|optional\)\s\+\)*\zs[^[:space:]:@"'']\+\ze[^[:space:]:]*\s*:\%(\s\|$\)'
  let lnum = a:lnum
  while lnum > s:section(a:lnum) && matchstr(getline(lnum), pattern) ==# '' && indent(lnum) >= indent(a:lnum)
    let lnum -= 1
  endwhile
  return lnum == a:lnum || indent(lnum) < indent(a:lnum) ? matchstr(getline(lnum), pattern) : ''
endfunction

" The file of the module that a dotted name leads to: the project's own, forge's, or one installed beside forge.
function! s:python_file(target) abort
  let file = expand('%:p')
  let project = s:above(file, {folder -> filereadable(folder .. '/project.yaml')})
  let places = (project ==# '' ? [] : [project .. '/src']) + [forge#library(file)] + s:packages()
  let parts = split(a:target, '\.')
  while !empty(parts)
    for place in places
      let path = place .. '/' .. join(parts, '/')
      for found in [path .. '.py', path .. '/__init__.py']
        if filereadable(found)
          return found
        endif
      endfor
    endfor
    call remove(parts, -1)
  endwhile
  return ''
endfunction

let &cpo = s:saved_cpo
unlet s:saved_cpo
