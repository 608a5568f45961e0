" Forge configs, on top of YAML's own syntax.
" The groups are those of the VS Code grammars beside this plugin; ../../fixtures/concepts.json has the two together.

if exists('b:current_syntax') && b:current_syntax ==# 'forge'
  finish
endif
" With the file type `yaml.forge` it is loaded already, with `forge` alone it is not.
if !exists('b:current_syntax')
  runtime! syntax/yaml.vim
endif

let s:saved_cpo = &cpo
set cpo&vim

" What is defined later wins where two begin at the same place.

" ---- the header, which counts in the first line only
syn match forgeHeaderLine /\%^#\s*@package\s\+\S\+\s*$/ contains=forgeHeader
syn match forgeHeader /@package/ contained skipwhite nextgroup=forgePackage
syn match forgePackage /[^[:space:]:@"']\+/ contained skipwhite nextgroup=forgeQuote,forgeColon

" ---- interpolations, within one line; \${ is text, and ${{ }} belongs to others
syn region forgeInterpolation matchgroup=forgeInterpolationDelimiter start=/\\\@1<!\${{\@!/ end=/}/ oneline
      \ containedin=yamlPlainScalar,yamlFlowString contains=forgeInterpolation,forgeArgument,forgeReference,forgeResolver
syn match forgeArgument  /[^[:space:]${}:,"']\+/ contained
syn match forgeReference /\%(\${\s*\)\@<=[^[:space:]${}:'",\\]\+/ contained
syn match forgeResolver  /\%(\${\s*\)\@<=\h[[:alnum:]_.]*\ze\s*:[-?+]\@!/ contained
syn cluster yamlFlow add=forgeInterpolation

" ---- text below | and >, which older YAML syntax files take for YAML
syn match forgeTextStart /\%(\%(:\|^\s*-\)\s\+\)\@<=[|>][-+1-9]*\ze\s*\%(\s#.*\)\?$/ skipnl nextgroup=forgeText
syn region forgeText start=/^\z(\s\+\)/ skip=/^\s*$/ end=/^\%(\z1\)\@!/ contained contains=forgeInterpolation

" ---- objects
syn match forgeSpecial /\<_\%(target\|symbol\|args\|partial\|recursive\|convert\|list\|new\)_\ze["']\?\s*:/ contained
      \ containedin=yamlBlockMappingKey,yamlFlowMappingKey,yamlFlowString
syn match forgeTarget /\%(\<_\%(target\|symbol\)_["']\?\s*:\s\+["']\?\)\@<=[[:alnum:]_.]\+/ contained
      \ containedin=yamlPlainScalar,yamlFlowString
syn match forgeMissing /\%(:\s\+["']\?\|^\s*-\s\+["']\?\|[[,]\s*["']\?\)\@<=???\ze["']\?\s*\%($\|[],}]\|\s#\)/
      \ contained containedin=yamlPlainScalar,yamlFlowString

" ---- the sections: from their key, at the very left, to the next one
" A defaults list has a small grammar of its own.
syn match forgeColon /:/ contained skipwhite
      \ nextgroup=forgeChoices,forgeQuote,forgeInterpolation,forgeChoice,forgeNone
syn region forgeDefaults matchgroup=forgeSection start=/^defaults\ze:\%(\s\|$\)/ end=/^[^[:space:]#-]/me=s-1
      \ contains=forgeColon,forgeItem,yamlComment

syn match forgeItem /^\s*\zs-\%(\s\+-\)*\ze\s/ contained skipwhite
      \ nextgroup=forgeQuote,forgeInterpolation,forgeChoice,forgeSelf,forgeGroup,forgeModifier
syn match forgeQuote /["']/ contained skipwhite
      \ nextgroup=forgeColon,forgeInterpolation,forgeChoice,forgeSelf,forgeGroup,forgeModifier
syn region forgeChoices matchgroup=yamlFlowIndicator start=/\[/ end=/\]/ contained
      \ contains=forgeQuote,forgeInterpolation,forgeChoice,forgeNone,forgeSelf,yamlComment
syn match forgeChoice /[^][:space:],:@[{}"'#$]\+/ contained nextgroup=forgeAt,forgeInterpolation,forgeQuote
syn match forgeNone /\%(null\|\~\)\ze\s*\%($\|[],]\|\s#\)/ contained
syn match forgeSelf /_self_\ze["']\?\s*\%($\|[],]\|\s#\)/ contained nextgroup=forgeQuote
syn match forgeGroup /[^[:space:]:@"']\+\ze[^[:space:]:]*\s*:\%(\s\|$\)/ contained skipwhite
      \ nextgroup=forgeAt,forgeQuote,forgeColon
syn match forgeModifier /\%(override\|optional\)\ze\s/ contained skipwhite nextgroup=forgeGroup,forgeModifier
syn match forgeAt /@/ contained nextgroup=forgePackage

" Below `args` and `meta` all is YAML, with a few keys of its own.
syn region forgeArgs matchgroup=forgeSection start=/^args\ze:\%(\s\|$\)/ end=/^[^[:space:]#]/me=s-1 contains=TOP
syn region forgeMeta matchgroup=forgeSection start=/^meta\ze:\%(\s\|$\)/ end=/^[^[:space:]#]/me=s-1 contains=TOP
syn match forgeSectionColon /\%(^\%(args\|meta\)\)\@<=:/ contained containedin=forgeArgs,forgeMeta

syn match forgeFlagField /^\s\{3,}\zs\%(key\|aliases\|type\|choices\|min\|max\|default\|help\)\ze\s*:/
      \ contained containedin=forgeArgs nextgroup=yamlKeyValueDelimiter
syn match forgeFlagField /\%([{,]\s*\)\@<=\%(key\|aliases\|type\|choices\|min\|max\|default\|help\)\ze\s*:/
      \ contained nextgroup=yamlKeyValueDelimiter
syn region forgeFlags matchgroup=yamlFlowIndicator start=/{/ end=/}/
      \ contained containedin=forgeArgs contains=@yamlFlow,forgeFlagField,forgeFlags

syn match forgeMetaField /^\s\+\zs\%(name\|description\|kind\|tags\|main\)\ze\s*:/
      \ contained containedin=forgeMeta nextgroup=yamlKeyValueDelimiter
syn match forgeMetaField /\%([{,]\s*\)\@<=\%(name\|description\|kind\|tags\|main\)\ze\s*:/
      \ contained nextgroup=yamlKeyValueDelimiter
syn region forgeMetaFields matchgroup=yamlFlowIndicator start=/{/ end=/}/
      \ contained containedin=forgeMeta contains=@yamlFlow,forgeMetaField

syn sync fromstart

hi def link forgeHeaderLine             Comment
hi def link forgeHeader                 PreProc
hi def link forgePackage                Type
hi def link forgeSection                Statement
hi def link forgeSectionColon           yamlKeyValueDelimiter
hi def link forgeFlagField              Label
hi def link forgeMetaField              Label
hi def link forgeItem                   yamlBlockCollectionItemStart
hi def link forgeColon                  yamlKeyValueDelimiter
hi def link forgeQuote                  yamlFlowStringDelimiter
hi def link forgeModifier               StorageClass
hi def link forgeGroup                  Identifier
hi def link forgeAt                     Delimiter
hi def link forgeChoice                 String
hi def link forgeNone                   Constant
hi def link forgeSelf                   Special
hi def link forgeSpecial                Keyword
hi def link forgeTarget                 Type
hi def link forgeMissing                Todo
hi def link forgeInterpolationDelimiter PreProc
hi def link forgeReference              Identifier
hi def link forgeResolver               Function
hi def link forgeArgument               Constant
hi def link forgeTextStart              Special
hi def link forgeText                   String

let b:current_syntax = 'forge'

let &cpo = s:saved_cpo
unlet s:saved_cpo
